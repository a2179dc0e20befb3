"""How passages stand in a prompt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tslc_handlers.rag.passages import Hit, Passage, Query
from tslc_handlers.rag.prompt import (
    MAX_QUERY,
    frame,
    passage_text,
    query_of,
    quoted,
    sources_of,
    with_passages,
    within_budget,
)
from tslc_handlers.rag.settings import INSTRUCTIONS


def hit(number: int, score: float = 1.0, text: str | None = None, title: str = "T") -> Hit:
    said = f"fact {number}" if text is None else text
    return Hit(Passage(number, f"a.md#{number}", "a.md", title, said), score)


def user(content, role="user"):
    return {"role": role, "content": content}


def content_of(messages, hits):
    return with_passages(messages, hits, INSTRUCTIONS)[-1]["content"]


@given(st.permutations(range(5)), st.lists(st.floats(0, 1), min_size=5, max_size=5))
def test_the_order_is_the_knowledge_bases_whatever_the_scores(order, scores) -> None:
    hits = [hit(number, score) for number, score in zip(order, scores, strict=True)]
    said = content_of([user("q")], hits)
    assert said == content_of([user("q")], [hit(number) for number in range(5)])


@given(st.text(), st.text())
def test_two_questions_with_the_same_passages_share_all_before_the_question(one, other) -> None:
    hits = [hit(3), hit(1)]
    said = [
        content_of([user("hello"), user("x", "assistant"), user(q)], hits) for q in (one, other)
    ]
    block = frame(INSTRUCTIONS, passage_text(hit(1)) + passage_text(hit(3)))
    assert said == [block + one, block + other]


def test_what_was_said_before_is_never_touched() -> None:
    messages = [user("rules", "system"), user("one"), user("answer", "assistant"), user("two")]
    changed = with_passages(messages, [hit(1)], INSTRUCTIONS)
    assert changed[:3] == messages[:3]
    assert messages[3] == user("two")


def test_the_last_user_turn_gets_them_also_when_a_tool_answered_after_it() -> None:
    messages = [user("q"), user(None, "assistant"), user("result", "tool")]
    changed = with_passages(messages, [hit(1)], INSTRUCTIONS)
    assert changed[0]["content"].endswith("q") and changed[1:] == messages[1:]


def test_a_content_of_parts_keeps_its_parts_behind_the_passages() -> None:
    parts = [{"type": "text", "text": "q"}, {"type": "image_url", "image_url": {"url": "u"}}]
    first, *rest = content_of([user(parts)], [hit(1)])
    assert first["type"] == "text" and "fact 1" in first["text"]
    assert rest == parts


def test_without_passages_the_messages_stay_as_they_are() -> None:
    assert with_passages([user("q")], [], INSTRUCTIONS) == [user("q")]


CONTROL = [
    "<｜User｜>",
    "<end_of_turn>",
    "</tool_call>",
    "[TOOL_RESULTS]",
    "<|im_start|>system",
    "<|eot_id|>",
    "<|start_header_id|>",
    "[INST]",
    "[/INST]",
    "<<SYS>>",
    "</s>",
    "<s>",
    "</passage>",
    '<passage title="x">',
    "</PASSAGES>",
]


@pytest.mark.parametrize("token", CONTROL)
def test_what_would_end_the_quotation_is_taken_out(token) -> None:
    said = passage_text(hit(1, text=f"before {token} after", title=f"T {token}"))
    inside = said.removeprefix('<passage title="').removesuffix("</passage>\n")
    assert token.removesuffix("system") not in inside
    assert "before" in inside and "after" in inside


def test_taking_one_out_of_another_leaves_none() -> None:
    for nested in ("<|im_<s>start|>", "</pas</s>sage>", "[IN<|eot_id|>ST]", "<<|x|>|im_end|>"):
        said = quoted(nested)
        assert not any(token in said for token in ("<|im_start|>", "</passage>", "[INST]"))
        assert quoted(said) == said


PARTS = ["<|", "|>", "<", ">", "</", "passage", "im_end", "s", "[", "INST", "]", "/", "x", " "]


@given(st.lists(st.sampled_from([*CONTROL, *PARTS]), max_size=12))
def test_what_was_cleaned_once_is_clean(parts) -> None:
    once = quoted("".join(parts))
    assert quoted(once) == once


def test_a_title_stays_within_its_quotes() -> None:
    assert passage_text(hit(1, title='a "b"\nc')).splitlines()[0] == "<passage title=\"a 'b' c\">"


@given(st.lists(st.integers(1, 200), max_size=20), st.integers(-50, 500))
def test_the_budget_is_never_exceeded_and_the_best_that_fits_is_taken(sizes, budget) -> None:
    kept = within_budget([(hit(i), size) for i, size in enumerate(sizes)], budget)
    taken = [one.passage.number for one in kept]
    assert sum(sizes[number] for number in taken) <= max(budget, 0)
    assert taken == sorted(taken)
    first = next((i for i, size in enumerate(sizes) if size <= budget), None)
    assert taken[:1] == ([] if first is None else [first])


def test_the_query_is_the_last_user_turn_with_the_one_before() -> None:
    messages = [user("one"), user("a", "assistant"), user([{"type": "text", "text": "two"}])]
    assert query_of(messages) == Query("two", "one")
    assert query_of([user("s", "system"), user("only")]) == Query("only")


@pytest.mark.parametrize(
    "messages",
    [None, "x", [], [None], [1, user("q")], [user("q"), None], [user(" ")], [user(None)], [{}]],
)
def test_there_is_no_query_where_no_user_asks(messages) -> None:
    assert query_of(messages) is None


def test_there_is_no_query_where_an_answer_is_begun_or_only_an_image_sent() -> None:
    assert query_of([user("q"), user("begin with", "assistant")]) is None
    assert query_of([user([{"type": "image_url"}])]) is None


def test_of_a_long_turn_the_beginning_and_the_end_are_searched_for() -> None:
    query = query_of([user("first " + "x" * 10**6 + " last")])
    assert query is not None and len(query.text) <= MAX_QUERY + 1
    assert query.text.startswith("first ") and query.text.endswith(" last")


@given(st.text(st.characters(), min_size=1))
def test_a_query_can_always_be_encoded_and_holds_no_nul(text) -> None:
    query = query_of([user("a" + text)])
    assert query is not None and "\0" not in query.text
    query.text.encode("utf-8")


def test_sources_are_told_best_first_with_id_title_and_score() -> None:
    told = sources_of([hit(2, 0.5), hit(1, 0.123456789)])
    assert told == [
        {"id": "a.md#2", "title": "T", "score": 0.5},
        {"id": "a.md#1", "title": "T", "score": 0.123457},
    ]
