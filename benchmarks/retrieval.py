"""Retrieval over 100,000 passages on one core: how long a question takes, and what is found.

The passages are made up: words drawn by Zipf's law from 30,000, vectors around 2,000 centres (to
embed so many texts would take half an hour). A question is embedded by the packaged model, searched
by words and by vector, and both are fused; the time of the embedding, which does not depend on how
many passages there are, is told apart. What the vectors find is compared with an exhaustive search.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from tslc.adapters.embedding_model import embedding_files
from tslc.domain.archive_sections import DEFAULT_EMBEDDING
from tslc_handlers.rag.index import EMBEDDING, LocalIndex, write_index
from tslc_handlers.rag.passages import Passage, Query

PASSAGES, WORDS, CENTRES, DIMENSIONS = 100_000, 30_000, 2_000, 384
PASSAGE_WORDS = 80
SPREAD = 0.9  # of a passage's vector around its centre, in centres' lengths
QUESTIONS = 200


def passages(random: np.random.Generator) -> list[Passage]:
    ranks = random.zipf(1.2, size=(PASSAGES, PASSAGE_WORDS)) % WORDS
    made = []
    for number, row in enumerate(ranks):
        text = " ".join(f"w{rank}" for rank in row)
        path = f"kb/{number}.md"
        made.append(Passage(number, f"{path}#1", path, f"w{row[0]}", text))
    return made


def vectors(random: np.random.Generator) -> np.ndarray:
    centres = _unit(random.standard_normal((CENTRES, DIMENSIONS)))
    noise = _unit(random.standard_normal((PASSAGES, DIMENSIONS))) * SPREAD
    return _unit(centres[random.integers(0, CENTRES, PASSAGES)] + noise).astype(np.float32)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Known:
    """An embedder that has the answer."""

    def __init__(self, vector: np.ndarray) -> None:
        self._vector = vector

    def embed(self, text: str) -> np.ndarray:
        return self._vector


def recall(index: LocalIndex, known: np.ndarray, random: np.random.Generator) -> float:
    """recall@10 of the vector search against an exhaustive one, near passages as questions."""
    asked = _unit(known[random.integers(0, len(known), QUESTIONS)] + 0.02)
    exact = np.argpartition(-(asked.astype(np.float32) @ known.T), 10, axis=1)[:, :10]
    found = index._vectors.search(asked.astype(np.float32), 10).keys
    same = sum(len({*map(int, a)} & {*map(int, b)}) for a, b in zip(found, exact, strict=True))
    return same / exact.size


def main() -> dict[str, float]:
    """Prints a table; gives the figures."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    random = np.random.default_rng(7)
    with tempfile.TemporaryDirectory(prefix="tslc-bench-") as scratch:
        folder = Path(scratch, "index")
        known = vectors(random)
        started = time.perf_counter()
        write_index(folder, passages(random), known, {}, {})
        built = time.perf_counter() - started
        (folder / EMBEDDING).mkdir()
        for name, path in embedding_files(DEFAULT_EMBEDDING, Path()).items():
            (folder / EMBEDDING / name).symlink_to(path)
        index = LocalIndex(folder, min_similarity=-1)
        asked = [
            f"how long does the w{n * 37 % 900} of a w{n * 11 % 5000} last"
            for n in range(QUESTIONS)
        ]
        embedder = index._embedder
        for text in asked[:20]:
            index.search(Query(text), 5)
        times: dict[str, list[float]] = {"embedding": [], "searching": [], "together": []}
        for text in asked:
            began = time.perf_counter()
            vector = embedder.embed(text)
            embedded = time.perf_counter()
            index._embedder = Known(vector)  # the question's vector is there: the search alone
            index.search(Query(text), 5)
            done = time.perf_counter()
            times["embedding"].append(embedded - began)
            times["searching"].append(done - embedded)
            times["together"].append(done - began)
        found = recall(index, known, random)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"{PASSAGES:,} passages, one core; made in {built:.0f} s, {size / 1e6:.0f} MB")
    for name, taken in times.items():
        middle, high = statistics.median(taken), statistics.quantiles(taken, n=100)[98]
        print(f"{name:16} p50 {middle * 1e3:6.2f} ms   p99 {high * 1e3:6.2f} ms")
    print(f"recall@10 of the vectors against an exhaustive search: {found:.3f}")
    return {
        "retrieval_p50_ms": round(statistics.median(times["searching"]) * 1e3, 3),
        "retrieval_with_embedding_p50_ms": round(statistics.median(times["together"]) * 1e3, 3),
        "retrieval_recall_at_10": round(found, 4),
    }


if __name__ == "__main__":
    main()
