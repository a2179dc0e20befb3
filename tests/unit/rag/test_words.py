"""The words that BM25 counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tslc_handlers.rag.words import words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("How much is the Comet 120?", ["much", "comet", "120"]),
        ("ＷＩＤＥ ﬁne Straße", ["wide", "fine", "strasse"]),
        ("Cafe\u0301", ["café"]),
        ("The of", ["the", "of"]),
        ("?!", []),
    ],
)
def test_words_are_in_lower_case_composed_and_without_stop_words(text, found) -> None:
    assert words(text) == found


@given(st.text())
def test_a_text_has_the_words_it_has_in_capitals_and_with_more_space(text) -> None:
    spaced = "  ".join(text.split(" "))
    assert words(spaced) == words(text)
    assert all(word and not any(letter.isspace() for letter in word) for word in words(text))
