"""A document of a knowledge base as text, and what was noticed while reading it."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

SUFFIXES = {
    ".md": "Markdown",
    ".markdown": "Markdown",
    ".txt": "text",
    ".html": "HTML",
    ".htm": "HTML",
    ".pdf": "PDF",
}
"""What can be read, by the end of a file's name."""
MAX_BYTES = 16 * 1024 * 1024
MAX_PASSAGES = 1_000_000
MAX_TITLE = 120
"""A longer title or heading is cut: each passage carries it."""
_HEADING = re.compile(r"#{1,6}[ \t]+(?=\S)")
_FENCES = ("```", "~~~")


@dataclass(frozen=True)
class Document:
    """`path`: below the archive's spec; `text`: Markdown; `title`: its own, or its file's name."""

    path: str
    sha256: str
    title: str
    text: str


@dataclass(frozen=True)
class Piece:
    """A part of a document's text and where it begins, in characters."""

    offset: int
    text: str


@dataclass(frozen=True)
class Passage:
    """What retrieval finds. `id` is `<path>#<n>`, n from 1."""

    id: str
    document: str
    title: str
    text: str


def kind_of(path: str) -> str | None:
    return SUFFIXES.get(PurePosixPath(path).suffix.lower())


def title_of(path: str, text: str) -> str:
    """The first heading, or the file's name without its ending."""
    for _, heading in headings_of(text):
        return heading
    return short(PurePosixPath(path).stem.replace("_", " ").replace("-", " "))


def short(title: str) -> str:
    """On one line, and no longer than a title may be."""
    line = " ".join(title[: 4 * MAX_TITLE].split())
    return line if len(line) <= MAX_TITLE else line[: MAX_TITLE - 1].rstrip() + "…"


def headings_of(text: str) -> Iterator[tuple[int, str]]:
    """Markdown's headings (those with #) and where each begins; none of a fenced block."""
    offset, fence = 0, ""
    for line in text.split("\n"):
        bare = line.lstrip(" ")[:3]
        if bare in _FENCES and not fence:
            fence = bare
        elif bare == fence:
            fence = ""
        elif not fence and (found := _HEADING.match(line)):
            heading = short(line[found.end() :][: 4 * MAX_TITLE].rstrip().rstrip("#"))
            if heading:
                yield offset, heading
        offset += len(line) + 1


def passages_of(document: Document, pieces: tuple[Piece, ...]) -> tuple[Passage, ...]:
    """The pieces with the headings they stand under: "Title - Section"."""
    headings = list(headings_of(document.text))
    starts = [start for start, _ in headings]
    passages = []
    for number, piece in enumerate(pieces, start=1):
        end = piece.offset + len(piece.text)
        place = bisect_right(starts, piece.offset) - 1
        if place < 0 and starts and starts[0] < end:
            place = 0
        section = headings[place][1] if place >= 0 else ""
        named = section and section != document.title
        title = f"{document.title} - {section}" if named else document.title
        passages.append(Passage(f"{document.path}#{number}", document.path, title, piece.text))
    return tuple(passages)
