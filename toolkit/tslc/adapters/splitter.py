"""Texts to pieces: along Markdown's headings, paragraphs and sentences, not through them."""

from __future__ import annotations

from tslc.adapters.documents import missing
from tslc.domain.knowledge.document import Piece


def split(text: str, characters: int, overlap: int) -> tuple[Piece, ...]:
    """Pieces of at most `characters`, each repeating up to `overlap` of the one before."""
    try:
        from semantic_text_splitter import MarkdownSplitter
    except ImportError as error:
        raise missing(error) from error
    splitter = MarkdownSplitter(characters, overlap=overlap)
    return tuple(Piece(offset, piece) for offset, piece in splitter.chunk_indices(text))
