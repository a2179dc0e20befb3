"""`tslc rag`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tslc.cli.output import dry_run_option, emit, json_option

if TYPE_CHECKING:
    from tslc.verbs.rag import Figures, Passage

_PATH = click.Path(path_type=Path)
_top_k = click.option(
    "--top-k", type=click.IntRange(1, 100), help="Passages at most; else the archive's own."
)


@click.group("rag")
def command() -> None:
    """The knowledge base of a built archive, asked with the archive's own code."""


@command.command("query")
@click.argument("archive", type=_PATH)
@click.argument("question")
@click.option("--before", default="", metavar="TEXT", help="The user's turn before this one.")
@_top_k
@json_option
def query_(archive: Path, question: str, before: str, top_k: int | None, as_json: bool) -> None:
    """Show which passages QUESTION would find, and why each of them.

    Each search says at which rank it found a passage: words (BM25), vector (the question), and
    conversation (the question with the turn before it).
    """
    from tslc.verbs.rag import query

    found = query(archive, question, before, top_k)
    emit([asdict(one) for one in found], lambda: _found_text(found), as_json=as_json)


def _found_text(found: tuple[Passage, ...]) -> str:
    if not found:
        return "nothing: no passage is near enough to the question"
    blocks = []
    for number, one in enumerate(found, start=1):
        why = ", ".join(
            f"{name} {said['rank']:g} ({said['score']:.3f})" for name, said in one.why.items()
        )
        text = " ".join(one.text.split())
        shown = text if len(text) <= 200 else f"{text[:200]}..."
        blocks.append(f"{number}. {one.title}  [{one.id}]\n   {one.score:.4f}: {why}\n   {shown}")
    return "\n".join(blocks)


@command.command("eval")
@click.argument("archive", type=_PATH)
@click.argument("questions", type=_PATH)
@_top_k
@json_option
def eval_(archive: Path, questions: Path, top_k: int | None, as_json: bool) -> None:
    """Measure recall@k and MRR with QUESTIONS, a file of JSON lines.

    A line: {"question": "…", "relevant": ["knowledge/file.md"]}; relevant names documents, or
    passages as path#n.
    """
    from tslc.verbs.rag import evaluate

    figures = evaluate(archive, questions, top_k)
    emit(asdict(figures), lambda: _figures_text(figures), as_json=as_json)


def _figures_text(figures: Figures) -> str:
    lines = [
        f"missed: {row['question']} ({', '.join(row['missed'])})"
        for row in figures.rows
        if row["missed"]
    ]
    lines.append(f"recall@{figures.k}  {figures.recall:.3f}")
    lines.append(f"MRR       {figures.mrr:.3f}")
    lines.append(f"questions {figures.questions}")
    return "\n".join(lines)


@command.command("load")
@click.argument("archive", type=_PATH)
@dry_run_option
@json_option
def load_(archive: Path, dry_run: bool, as_json: bool) -> None:
    """Fill the database that handler.rag.retriever names with the archive's passages.

    What its table held is replaced, in one transaction.
    """
    from tslc.verbs.rag import load

    count = load(archive, dry_run=dry_run)
    said = "would load" if dry_run else "loaded"
    document = {"passages": count, "dry_run": dry_run}
    emit(document, f"{said} {count} passages", as_json=as_json)
