"""A document of a knowledge base as text, and what was noticed while reading it."""

from __future__ import annotations

import re
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
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*\s*$", re.MULTILINE)


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
    first = _HEADING.search(text)
    return first[1] if first else PurePosixPath(path).stem.replace("_", " ").replace("-", " ")


def passages_of(document: Document, pieces: tuple[Piece, ...]) -> tuple[Passage, ...]:
    """The pieces with the headings they stand under: "Title - Section"."""
    headings = [(found.start(), found[1]) for found in _HEADING.finditer(document.text)]
    passages = []
    for number, piece in enumerate(pieces, start=1):
        end = piece.offset + len(piece.text)
        above = [name for start, name in headings if start <= piece.offset]
        within = [name for start, name in headings if piece.offset < start < end]
        section = above[-1] if above else (within[0] if within else "")
        named = section and section != document.title
        title = f"{document.title} - {section}" if named else document.title
        passages.append(Passage(f"{document.path}#{number}", document.path, title, piece.text))
    return tuple(passages)
