"""What `tslc build` and `tslc rag` run in a process of their own, with the code of the archive.

    python -m tslc_handlers.rag make SOURCE INDEX     an index from a folder of passages
    python -m tslc_handlers.rag query FOLDER TEXT     what an archive would retrieve, and why
    python -m tslc_handlers.rag eval FOLDER FILE      recall@k and MRR, by questions of known answer
    python -m tslc_handlers.rag load FOLDER           fill the database that handler.rag names

FOLDER is an unpacked archive. Results are JSON on stdout; what is wrong is one line on stderr, with
2 for the input and 5 for a database. `make` writes a line `done total` to stderr now and then.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from tslc_handlers.config import ConfigError
from tslc_handlers.rag.evaluate import Question, evaluate
from tslc_handlers.rag.index import EMBEDDING, FOLDER, LocalIndex, make_index
from tslc_handlers.rag.open import address, open_retriever
from tslc_handlers.rag.passages import Hit, Passage, Query, RetrievalFailed
from tslc_handlers.rag.settings import RagSettings

_PROGRESS_SECONDS = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(prog="tslc_handlers.rag")
    verbs = parser.add_subparsers(dest="verb", required=True)
    make = verbs.add_parser("make")
    make.add_argument("source", type=Path)
    make.add_argument("index", type=Path)
    query = verbs.add_parser("query")
    query.add_argument("folder", type=Path)
    query.add_argument("text")
    query.add_argument("--before", default="")
    query.add_argument("--top-k", type=int)
    judged = verbs.add_parser("eval")
    judged.add_argument("folder", type=Path)
    judged.add_argument("file", type=Path)
    judged.add_argument("--top-k", type=int)
    load = verbs.add_parser("load")
    load.add_argument("folder", type=Path)
    load.add_argument("--dry-run", action="store_true")
    args = parser.parse_args()
    try:
        match args.verb:
            case "make":
                _make(args.source, args.index)
            case "query":
                _query(args.folder, Query(args.text, args.before), args.top_k)
            case "eval":
                _evaluate(args.folder, args.file, args.top_k)
            case _:
                _load(args.folder, dry_run=args.dry_run)
    except RetrievalFailed as error:
        _fail(5, str(error))
    except (ConfigError, ValueError) as error:
        _fail(2, str(error))
    except ImportError as error:
        extra = "pgvector" if error.name == "psycopg" else "rag"
        _fail(2, f"the package {error.name} is not installed; pip install 'tslc[{extra}]'")


def _fail(code: int, message: str) -> NoReturn:
    print(" ".join(message.split()), file=sys.stderr)  # noqa: T201 - a command
    sys.exit(code)


def _tell(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False))  # noqa: T201 - a command


def _make(source: Path, index: Path) -> None:
    told = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal told
        if time.monotonic() - told >= _PROGRESS_SECONDS:
            told = time.monotonic()
            print(done, total, file=sys.stderr, flush=True)  # noqa: T201 - a command

    make_index(
        list(_passages(source / "passages.jsonl")),
        json.loads((source / "documents.json").read_text("utf-8")),
        source / EMBEDDING,
        index,
        json.loads((source / "about.json").read_text("utf-8")),
        progress,
    )


def _passages(file: Path) -> Iterator[Passage]:
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            one = json.loads(line)
            yield Passage(number, one["id"], one["document"], one["title"], one["text"])


def _settings(folder: Path) -> RagSettings:
    import yaml

    config = yaml.safe_load((folder / "model-config.yaml").read_text("utf-8")) or {}
    return RagSettings.parse((config.get("handler") or {}).get("rag") or {})


def _query(folder: Path, query: Query, top_k: int | None) -> None:
    settings = _settings(folder)
    retriever = open_retriever(folder, settings, os.environ)
    hits = retriever.search(query, top_k or settings.top_k)
    retriever.close()
    _tell([_as_json(hit) for hit in hits])


def _as_json(hit: Hit) -> dict[str, Any]:
    passage = hit.passage
    return {
        "id": passage.id,
        "document": passage.document,
        "title": passage.title,
        "score": round(hit.score, 6),
        "why": {
            name: {"rank": found.rank, "score": round(found.score, 4)}
            for name, found in sorted(hit.why.items())
        },
        "text": passage.text,
    }


def _evaluate(folder: Path, file: Path, top_k: int | None) -> None:
    settings = _settings(folder)
    questions = [
        Question(one["question"], tuple(one["relevant"]), one.get("before", ""))
        for one in map(json.loads, filter(str.strip, file.read_text("utf-8").splitlines()))
    ]
    index = LocalIndex(folder / FOLDER)
    known = {index.passage(number).id for number in range(index.count)}
    retriever = open_retriever(folder, settings, os.environ)
    _tell(evaluate(retriever, questions, top_k or settings.top_k, known))
    retriever.close()


def _load(folder: Path, *, dry_run: bool) -> None:
    from tslc_handlers.rag.pgvector import LANGUAGE, TABLE, load

    settings = _settings(folder)
    dsn = address(settings, os.environ)
    index = LocalIndex(folder / FOLDER)
    if not dry_run:
        said = settings.retriever
        table, language = said.get("table", TABLE), said.get("language", LANGUAGE)
        load(dsn, index, table=table, language=language)
    _tell({"passages": index.count})


if __name__ == "__main__":
    main()
