"""Texts to pieces: along Markdown's headings, paragraphs and sentences, not through them."""

from __future__ import annotations

from collections.abc import Iterator

from tslc.adapters.documents import missing
from tslc.domain.knowledge.document import Piece

# The splitter's time grows with the square of a text that has no paragraphs, so it is given no more
# than this at once: 5 million characters in one line take seconds, not an hour.
_AT_ONCE = 8_000
_CUTS = ("\n# ", "\n## ", "\n### ", "\n\n", "\n", ". ", " ")
"""Where a text may be cut, the best place first."""


def split(text: str, characters: int, overlap: int) -> tuple[Piece, ...]:
    """Pieces of at most `characters`, each repeating up to `overlap` of the one before."""
    try:
        from semantic_text_splitter import MarkdownSplitter
    except ImportError as error:
        raise missing(error) from error
    splitter = MarkdownSplitter(characters, overlap=overlap)
    return tuple(
        Piece(begin + offset, piece)
        for begin, part in _parts(text, max(_AT_ONCE, 8 * characters))
        for offset, piece in splitter.chunk_indices(part)
    )


def _parts(text: str, most: int) -> Iterator[tuple[int, str]]:
    """The text in parts of at most `most` characters and where each begins."""
    begin = 0
    while len(text) - begin > most:
        end = _cut(text, begin + most // 2, begin + most)
        yield begin, text[begin:end]
        begin = end
    yield begin, text[begin:]


def _cut(text: str, least: int, most: int) -> int:
    for mark in _CUTS:
        place = text.rfind(mark, least, most)
        if place >= 0:
            return place + 1
    return most
