"""Titles of documents and passages; what a text is cut into."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tslc.adapters.splitter import split
from tslc.domain.knowledge.document import (
    MAX_TITLE,
    Document,
    Piece,
    headings_of,
    kind_of,
    passages_of,
    title_of,
)


def document(text: str, path: str = "kb/a.md") -> Document:
    return Document(path, "0" * 64, title_of(path, text), text)


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("# One\n# Two", "One"),
        ("text\n\n## Below ##\n", "Below"),
        ("```\n# a comment\n```\n# Real", "Real"),
        ("~~~\n```\n# a comment\n~~~\n# Real", "Real"),
        ("#no space\n####### seven", "my notes 1"),
        ("#\n#  \n\nOne", "my notes 1"),
        ("", "my notes 1"),
        ("# C#", "C"),
    ],
)
def test_the_title_is_the_first_heading_or_the_files_name(text, title) -> None:
    assert title_of("kb/my-notes_1.md", text) == title


def test_a_title_is_never_longer_than_a_line() -> None:
    title = title_of("a.md", "# " + "word " * 10**6)
    assert len(title) <= MAX_TITLE and title.endswith("…")


@pytest.mark.parametrize(
    ("path", "kind"),
    [("a/B.MD", "Markdown"), ("a.htm", "HTML"), ("a.pdf", "PDF"), ("a.docx", None), ("md", None)],
)
def test_what_a_file_is_follows_from_its_ending(path, kind) -> None:
    assert kind_of(path) == kind


def test_a_passage_is_named_after_the_heading_it_stands_under() -> None:
    text = "# Lamps\n\nAll.\n\n## Prices\n\nTen.\n\n## Colours\n\nRed."
    cut = [0, text.index("Ten"), text.index("## Colours")]
    pieces = tuple(Piece(at, text[at : at + 5]) for at in cut)
    passages = passages_of(document(text), pieces)
    assert [one.title for one in passages] == ["Lamps", "Lamps - Prices", "Lamps - Colours"]
    assert [one.id for one in passages] == ["kb/a.md#1", "kb/a.md#2", "kb/a.md#3"]


def test_a_passage_before_every_heading_takes_the_first_one_in_it() -> None:
    text = "An intro.\n\n## Prices\n\nTen."
    page = Document("kb/a.html", "0" * 64, "A page", text)
    (passage,) = passages_of(page, (Piece(0, text),))
    assert passage.title == "A page - Prices"


@given(st.text(alphabet="ab #\n`", max_size=300))
def test_headings_stand_where_they_are_said_to(text) -> None:
    for offset, heading in headings_of(text):
        assert text[offset] == "#" and (offset == 0 or text[offset - 1] == "\n")
        assert heading.split()[0].rstrip("#") in text[offset:] and heading.strip()


@given(st.text(alphabet="ab .#\n-é中", max_size=3000), st.integers(100, 400))
def test_pieces_are_parts_of_the_text_in_order_and_no_longer_than_asked(text, size) -> None:
    pieces = split(text, size, size // 4)
    assert all(text[one.offset :].startswith(one.text) for one in pieces)
    assert all(0 < len(one.text) <= size for one in pieces)
    assert [one.offset for one in pieces] == sorted(one.offset for one in pieces)
    covered = {i for one in pieces for i in range(one.offset, one.offset + len(one.text))}
    assert all(text[i].isspace() for i in set(range(len(text))) - covered)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("unit", ["x", "word ", "# ", "| a ", "> "])
def test_a_line_of_a_million_characters_is_cut_within_seconds(unit) -> None:
    text = (unit * 10**6)[: 10**6]
    pieces = split(text, 800, 120)
    assert all(len(one.text) <= 800 for one in pieces)
    assert passages_of(document(text), pieces)[-1].title
