"""What the guard's answer means, and what of it means nothing."""

import math

import pytest

from tslc_handlers.guard.reading import Token, Unreadable, read_answer, read_codes

LIMIT = 16


def tokens(*texts, top=None):
    """An answer of these tokens; `top` are the probabilities at the place of the first word."""
    first = next((i for i, text in enumerate(texts) if text.strip()), 0)
    logs = {word: math.log(p) for word, p in (top or {}).items()}
    return [
        Token(text, logs if i == first and top else {text: -0.001}) for i, text in enumerate(texts)
    ]


def read(*texts, top=None):
    return read_answer(tokens(*texts, top=top), LIMIT)


def test_safe_is_read_with_its_score():
    reading = read("\n\n", "safe", top={"safe": 0.9, "unsafe": 0.1})
    assert (reading.unsafe, reading.codes) == (False, ())
    assert reading.score == pytest.approx(0.1)


def test_unsafe_is_read_with_its_categories():
    reading = read("\n\n", "unsafe", "\n", "S", "1", ",", "S", "10", top={"unsafe": 0.7})
    assert (reading.unsafe, reading.codes, reading.more) == (True, ("S1", "S10"), False)
    assert reading.score == 1.0


@pytest.mark.parametrize("end", ["<|eot_id|>", "<|im_end|>", "</s>", "<eos>", ""])
def test_the_token_that_ends_the_turn_is_not_part_of_the_answer(end):
    assert not read("\n\n", "safe", end).unsafe
    assert read("\n\n", "unsafe", "\nS9", end).codes == ("S9",)


@pytest.mark.parametrize(
    ("word", "top", "score"),
    [
        (("uns", "afe"), {"uns": 0.6, "safe": 0.2}, 0.75),
        (("un", "safe"), {"un": 0.5, "s": 0.5}, 0.5),
        (("s", "afe"), {"s": 0.9, "u": 0.1}, 0.1),
        (("safe",), {"safe": 0.3, " safe": 0.3, "unsafe": 0.2, "Safe": 0.2}, 0.25),
    ],
)
def test_words_in_several_tokens_count_by_their_beginnings(word, top, score):
    assert read(*word, top=top).score == pytest.approx(score)


@pytest.mark.parametrize(
    "texts",
    [
        (),
        ("",),
        ("\n\n",),
        ("Sure", ",", " here"),
        ("safety",),
        ("Safe",),
        ("unsafe", " ", "S1"),
        ("safe", "\n", "unsafe"),
        ("safe", "\n", "S1"),
        ("not ", "safe"),
        ("<|eot_id|>",),
    ],
)
def test_anything_else_is_no_answer(texts):
    with pytest.raises(Unreadable):
        read(*texts)


@pytest.mark.parametrize(
    "top",
    [
        {"Sure": 0.8, "safe": 0.2},
        {"Sure": 1.0},
        {"": 1.0},
        {"safe": 0.2, "unsafe": 0.2},
    ],
)
def test_a_word_said_without_its_probability_is_no_answer(top):
    with pytest.raises(Unreadable):
        read("safe", top=top)


@pytest.mark.parametrize("logprob", [math.nan, -math.inf, math.inf, 700.0, 1e308])
def test_what_is_no_probability_is_no_answer(logprob):
    with pytest.raises(Unreadable):
        read_answer([Token("safe", {"safe": logprob})], LIMIT)


def test_no_probabilities_at_all_are_no_answer():
    with pytest.raises(Unreadable):
        read_answer([Token("safe", {})], LIMIT)


@pytest.mark.parametrize(
    ("line", "codes", "more"),
    [
        ("S1", ("S1",), False),
        ("\n S1 , S2,S1 ", ("S1", "S2"), False),
        ("S1,", ("S1",), True),
        ("S1,S", ("S1",), True),
        ("S1 and then", ("S1",), True),
        ("S1\nS2", ("S1",), True),
        ("S1234", ("S123",), True),
        ("violence", (), True),
        ("", (), True),
    ],
)
def test_more_than_categories_is_told_from_categories(line, codes, more):
    assert read_codes((), line, LIMIT) == (codes, more)


def test_a_list_as_long_as_it_could_be_may_go_on():
    answer = tokens("unsafe", "\n", *["S1", ","] * 7)[:-1]
    assert not read_answer(answer, LIMIT).more
    assert read_answer(answer, len(answer)).more
