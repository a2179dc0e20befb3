"""The index in an archive: written once by `tslc build`, read by every worker, never unpickled.

    index.json         schema, number of passages, dimensions, the embedding model's digest
    documents.json     the SHA-256 of each document, and how many passages it gave
    passages.jsonl     one passage a line: id, document, title, text
    offsets.npy        where each line begins, int64 [passages + 1]
    vectors.usearch    HNSW over float16 vectors (usearch), looked at in place
    words/             BM25 (bm25s): arrays of numbers and a vocabulary in JSON
    embedding/         the model that made the vectors, for the questions

The same passages and the same model give the same bytes: one thread, in order, nothing random.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tslc_handlers.rag.embedding import Embedder
from tslc_handlers.rag.passages import (
    Hit,
    Passage,
    Query,
    RetrievalFailed,
    fuse,
    reasons,
    relevant,
)
from tslc_handlers.rag.words import words

if TYPE_CHECKING:
    import numpy as np

FOLDER = "index"
SCHEMA = 1
EMBEDDING = "embedding"
_ABOUT, _DOCUMENTS, _PASSAGES = "index.json", "documents.json", "passages.jsonl"
_OFFSETS, _VECTORS, _WORDS = "offsets.npy", "vectors.usearch", "words"
# HNSW (Malkov and Yashunin, 2018): links of a node, and how wide a search is while building and
# while searching. With 100,000 vectors of 384 dimensions the ten nearest are found nearly always.
_LINKS, _BUILD_WIDTH, _SEARCH_WIDTH = 16, 128, 96


def write_index(
    folder: Path,
    passages: Sequence[Passage],
    vectors: np.ndarray,
    documents: Mapping[str, Mapping[str, Any]],
    about: Mapping[str, Any],
) -> None:
    """Write everything but the embedding model.

    `vectors`: float32 [passages, dimensions], at least one, each of length 1; `documents`: what
    documents.json says, by path; `about`: more keys for index.json.
    """
    import numpy as np

    folder.mkdir(parents=True, exist_ok=True)
    count, dimensions = vectors.shape
    _write_json(
        folder / _ABOUT,
        {"schema": SCHEMA, "passages": count, "dimensions": dimensions, **about},
    )
    _write_json(folder / _DOCUMENTS, documents)
    offsets = np.zeros(count + 1, dtype=np.int64)
    with (folder / _PASSAGES).open("wb") as file:
        for number, one in enumerate(passages):
            line = {"id": one.id, "document": one.document, "title": one.title, "text": one.text}
            file.write(json.dumps(line, ensure_ascii=False, sort_keys=True).encode() + b"\n")
            offsets[number + 1] = file.tell()
    np.save(folder / _OFFSETS, offsets, allow_pickle=False)
    _write_vectors(folder / _VECTORS, vectors)
    _write_words(folder / _WORDS, [words(f"{one.title}\n{one.text}") for one in passages])


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, sort_keys=True, indent=1) + "\n", "utf-8")


def _write_vectors(path: Path, vectors: np.ndarray) -> None:
    import numpy as np

    graph = _vector_index()(
        ndim=vectors.shape[1],
        metric="cos",
        dtype="f16",
        connectivity=_LINKS,
        expansion_add=_BUILD_WIDTH,
        expansion_search=_SEARCH_WIDTH,
    )
    graph.add(np.arange(len(vectors), dtype=np.uint64), vectors, threads=1)
    graph.save(str(path))


def _vector_index() -> Any:
    """usearch's Index. usearch 2.26 crashes the process when onnxruntime 1.31 is imported after it
    and not before."""
    import onnxruntime  # noqa: F401
    from usearch.index import Index

    return Index


def _write_words(folder: Path, texts: Sequence[Sequence[str]]) -> None:
    import bm25s
    from bm25s.tokenization import Tokenized

    # A vocabulary in order: the library's own would follow the hashes of the words.
    vocabulary = {word: i for i, word in enumerate(sorted({w for text in texts for w in text}))}
    ids = [[vocabulary[word] for word in text] for text in texts]
    ranking = bm25s.BM25()
    ranking.index(Tokenized(ids, vocabulary), show_progress=False, create_empty_token=False)
    ranking.save(str(folder), show_progress=False)


class LocalIndex:
    """The index of an archive's folder, read in place. Raises RetrievalFailed when it is none."""

    def __init__(self, folder: Path, *, candidates: int = 50, min_similarity: float = -1.0) -> None:
        import bm25s
        import numpy as np

        self._candidates = candidates
        self._least = min_similarity
        try:
            about = json.loads((folder / _ABOUT).read_text("utf-8"))
            if about["schema"] != SCHEMA:
                raise RetrievalFailed(f"{folder}: made for another version of tslc_handlers")
            self.count = int(about["passages"])
            self._offsets = np.load(folder / _OFFSETS, mmap_mode="r", allow_pickle=False)
            with (folder / _PASSAGES).open("rb") as file:
                self._lines = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._vectors: Any = _vector_index().restore(str(folder / _VECTORS), view=True)
            self._words: Any = bm25s.BM25.load(str(folder / _WORDS), mmap=True, load_corpus=False)
            self._embedder = Embedder(folder / EMBEDDING)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise RetrievalFailed(f"{folder} holds no index that can be read: {error}") from error

    def close(self) -> None:
        """A search that still runs ends with an error, and reads nothing else's file."""
        self._lines.close()

    def passage(self, number: int) -> Passage:
        begin, end = int(self._offsets[number]), int(self._offsets[number + 1])
        line = json.loads(self._lines[begin:end])
        return Passage(number, line["id"], line["document"], line["title"], line["text"])

    def vectors(self) -> np.ndarray:
        """float32 [passages, dimensions], by number."""
        import numpy as np

        numbers = np.arange(self.count, dtype=np.uint64)
        return np.stack([self._vectors.get(number, np.float32) for number in numbers])

    def search(self, query: Query, top_k: int) -> Sequence[Hit]:
        if not query.text.strip():
            return ()
        rankings = {"words": self._by_words(query.text), "vector": self._by_vector(query.text)}
        if query.before:
            # "And how much is it?" means nothing without what was asked before.
            rankings["conversation"] = self._by_vector(f"{query.before}\n{query.text}")
        similarity: dict[int, float] = {}
        for name in ("vector", "conversation"):
            for number, score in rankings.get(name, ()):
                similarity[number] = max(score, similarity.get(number, -1.0))
        by_words = [number for number, _ in rankings["words"]]
        ranked = relevant(fuse(rankings), similarity, by_words, self._least)[:top_k]
        why = reasons(rankings, (number for number, _ in ranked))
        return [Hit(self.passage(number), score, why[number]) for number, score in ranked]

    def _by_vector(self, text: str) -> list[tuple[int, float]]:
        found = self._vectors.search(self._embedder.embed(text), min(self._candidates, self.count))
        return [
            (int(key), 1.0 - float(distance))
            for key, distance in zip(found.keys, found.distances, strict=True)
        ]

    def _by_words(self, text: str) -> list[tuple[int, float]]:
        import numpy as np

        ids = self._words.get_tokens_ids(words(text))
        if not ids:
            return []
        scores = self._words.get_scores_from_ids(ids)
        count = min(self._candidates, len(scores))
        best = np.argpartition(-scores, count - 1)[:count]
        best = best[np.lexsort((best, -scores[best]))]
        return [(int(i), float(scores[i])) for i in best if scores[i] > 0]


def make_index(
    passages: Sequence[Passage],
    documents: Mapping[str, Mapping[str, Any]],
    embedding: Path,
    folder: Path,
    about: Mapping[str, Any],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Embed the passages with the model in `embedding` and write the index."""
    import numpy as np

    embedder = Embedder(embedding)
    rows = []
    for done, one in enumerate(passages, start=1):
        rows.append(embedder.embed(f"{one.title}\n{one.text}"))
        progress(done, len(passages))
    write_index(folder, passages, np.stack(rows), documents, about)
