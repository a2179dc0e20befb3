"""`tslc rag`: what an archive would retrieve and why, how good that is, and filling a database.

The archive is verified whole before anything of it runs; then its own code answers, so that what is
shown is what that version does.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tslc.adapters import source_files
from tslc.adapters.archive_file import open_archive, unpack
from tslc.adapters.rag_process import ask
from tslc.errors import BadFile, BadInput, Mistake
from tslc.verbs.build_knowledge import INDEX

_QUESTION = {"question": str, "relevant": list, "before": str}
_MAX_QUESTION = 10_000
"""Characters; handlers search for fewer of a turn, and a process takes no argument of any size."""


@dataclass(frozen=True)
class Passage:
    """One result: its fused score, and what each search said of it (rank from 1, own score)."""

    id: str
    document: str
    title: str
    score: float
    why: Mapping[str, Mapping[str, float]]
    text: str


@dataclass(frozen=True)
class Figures:
    """`recall`: recall@k; `mrr`: mean reciprocal rank; `rows`: one mapping a question."""

    k: int
    questions: int
    recall: float
    mrr: float
    unknown: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]


def query(archive: Path, text: str, before: str, top_k: int | None) -> tuple[Passage, ...]:
    """What would be retrieved for a user's turn; `before` is the user's turn before it."""
    if not text.strip():
        raise BadInput("an empty question", hint='tslc rag query ARCHIVE "…"')
    text, before = text[:_MAX_QUESTION], before[:_MAX_QUESTION]
    with _unpacked(archive) as folder:
        options = [f"--before={before}", *_top(top_k)]
        # A question may begin with a dash.
        found = ask(folder, ["query", *options, "--", str(folder), text])
    return tuple(Passage(**one) for one in found)


def evaluate(archive: Path, questions: Path, top_k: int | None) -> Figures:
    """Raises BadFile with every mistake in the file of questions."""
    text = source_files.read_text(questions)
    if mistakes := tuple(_mistakes(text)):
        raise BadFile(str(questions), mistakes)
    with _unpacked(archive) as folder:
        file = str(questions.absolute())
        found = ask(folder, ["eval", *_top(top_k), "--", str(folder), file])
    figures = Figures(**{**found, "unknown": tuple(found["unknown"]), "rows": tuple(found["rows"])})
    if figures.unknown:
        fix = "name documents by their path in the knowledge base, passages as path#n"
        problem = "the archive has no such document or passage"
        raise BadFile(str(questions), [Mistake(one, problem, fix) for one in figures.unknown])
    return figures


def load(archive: Path, *, dry_run: bool = False) -> int:
    """Fill the database that the archive's config names; the count of passages."""
    with _unpacked(archive) as folder:
        options = ["--dry-run"] if dry_run else []
        return int(ask(folder, ["load", *options, "--", str(folder)])["passages"])


def _top(top_k: int | None) -> list[str]:
    return [f"--top-k={top_k}"] if top_k is not None else []


@contextmanager
def _unpacked(archive: Path) -> Iterator[Path]:
    opened = open_archive(archive)
    if not any(path.startswith(f"{INDEX}/") for path in opened.manifest.files):
        hint = "name an archive whose spec has a rag section"
        raise BadInput(f"{archive} has no retrieval index", hint=hint)
    with tempfile.TemporaryDirectory(prefix="tslc-rag.") as scratch:
        folder = Path(scratch, archive.name)
        unpack(opened, folder)
        yield folder


def _mistakes(text: str) -> Iterator[Mistake]:
    fix = 'write {"question": "…", "relevant": ["knowledge/file.md"]}, one a line'
    lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        yield Mistake("the file", "no question in it", fix)
    for number, line in lines:
        where = f"line {number}"
        try:
            one = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Mistake(where, f"not JSON: {error}", fix, number)
            continue
        if not isinstance(one, dict) or not one.get("question") or not one.get("relevant"):
            yield Mistake(where, "question and relevant are needed", fix, number)
            continue
        for key, value in one.items():
            if key not in _QUESTION:
                yield Mistake(where, f"unknown key '{key}'", fix, number)
            elif not isinstance(value, _QUESTION[key]) or not _all_texts(value):
                yield Mistake(where, f"{key} is {json.dumps(value)[:60]}", fix, number)


def _all_texts(value: object) -> bool:
    """A text that says something, or a list of such; the turn before may be empty."""
    if isinstance(value, list):
        return all(isinstance(one, str) and one.strip() for one in value)
    return isinstance(value, str)
