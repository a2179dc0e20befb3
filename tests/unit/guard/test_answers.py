"""What of an answer is read, and what of it goes out: the same."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tslc_handlers.guard.answers import Said, clean_choice, clean_usage


def read(*choices):
    said = Said()
    for choice in choices:
        said.take(clean_choice(choice))
    return said.text


def entry(token, raw=None):
    return {"token": token, "logprob": -0.1, "bytes": raw, "top_logprobs": [{"token": "bad"}]}


@pytest.mark.parametrize(
    "choice",
    [
        {"text": "bad"},
        {"delta": {"content": "bad"}},
        {"delta": {"reasoning": "bad"}},
        {"delta": {"reasoning_content": "bad"}},
        {"delta": {"refusal": "bad"}},
        {"message": {"content": None, "tool_calls": [{"function": {"name": "bad"}}]}},
        {"message": {"tool_calls": [{"function": {"name": "f", "arguments": '{"a": "bad"}'}}]}},
        {"message": {"tool_calls": [{"id": "functions.bad:0", "function": {"name": "f"}}]}},
        {"delta": {"content": "a"}, "message": {"content": "bad"}},
        {"text": "a", "stop_reason": "bad"},
        {"text": "a", "logprobs": {"tokens": ["bad"]}},
        {"delta": {"content": "a"}, "logprobs": {"content": [entry("bad", list(b"a"))]}},
        {"delta": {"content": "a"}, "logprobs": {"content": [entry("a", list(b"bad"))]}},
        {"delta": {}, "logprobs": {"content": [entry("b"), entry("ad")]}},
    ],
)
def test_every_text_that_goes_out_is_read(choice):
    assert "bad" in read(choice)


@pytest.mark.parametrize(
    "choice",
    [
        {"text": "a", "token_ids": [1], "prompt_logprobs": [{"1": {"decoded_token": "bad"}}]},
        {"text": "a", "prompt_token_ids": [1], "routed_experts": "bad", "bad": "bad"},
        {"message": {"content": "a", "annotations": ["bad"], "audio": {"data": "bad"}}},
        {"message": {"content": "a", "function_call": {"name": "bad"}, "role": "bad"}},
        {"message": {"content": ["bad"], "reasoning": {"bad": "bad"}}},
        {"delta": {"content": "a"}, "finish_reason": "a bad one"},
        {"delta": {"content": "a"}, "finish_reason": ["bad"]},
        {"delta": {"content": "a"}, "stop_reason": ["bad"], "index": "bad"},
        {"delta": {"tool_calls": ["bad", {"type": "bad", "index": "bad", "function": "bad"}]}},
        {"delta": {"tool_calls": [{"id": ["bad"], "function": {"name": {"bad": 1}}}]}},
        {"delta": {}, "logprobs": {"content": [{**entry("a"), "bytes": "bad", "bad": 1}]}},
        {"delta": {}, "logprobs": {"content": [{**entry("a"), "logprob": "bad"}, "bad"]}},
        {"delta": {}, "logprobs": {"content": "bad", "refusal": [entry("bad")]}},
        {"text": "a", "logprobs": {"tokens": [["bad"]], "top_logprobs": [{"bad": -1}]}},
        {"text": "a", "logprobs": {"token_logprobs": ["bad"], "text_offset": ["bad"]}},
        {"text": ["bad"], "logprobs": "bad"},
    ],
)
def test_what_is_not_read_does_not_go_out(choice):
    assert "bad" not in json.dumps(clean_choice(choice))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 300) | st.text("abü", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
MARKED = json_values | st.just("MARK")
NESTED = MARKED | st.lists(MARKED) | st.dictionaries(st.just("MARK"), MARKED)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(("index", "text", "finish_reason", "stop_reason", "x"), NESTED),
            **dict.fromkeys(
                ("delta", "message"),
                st.fixed_dictionaries(
                    {},
                    optional={
                        **dict.fromkeys(("role", "content", "reasoning", "refusal", "y"), NESTED),
                        "tool_calls": st.lists(
                            st.fixed_dictionaries(
                                {}, optional=dict.fromkeys(("id", "type", "index"), NESTED)
                            )
                            | NESTED,
                            max_size=2,
                        ),
                    },
                )
                | NESTED,
            ),
            "logprobs": st.fixed_dictionaries(
                {},
                optional={
                    **dict.fromkeys(("tokens", "token_logprobs", "top_logprobs", "z"), NESTED),
                    "content": st.lists(
                        st.fixed_dictionaries(
                            {}, optional=dict.fromkeys(("token", "logprob", "bytes"), NESTED)
                        ),
                        max_size=2,
                    )
                    | NESTED,
                },
            )
            | NESTED,
        },
    )
)
def test_whatever_a_choice_is_what_goes_out_of_it_was_read(choice):
    said = Said()
    clean = clean_choice(choice)
    said.take(clean)
    if "MARK" in json.dumps(clean):
        assert "MARK" in said.text
        assert said.size > 0


def test_tokens_that_repeat_the_content_are_read_once():
    choice = {"delta": {"content": "a b"}, "logprobs": {"content": [entry("a", [97]), entry(" b")]}}
    assert read({"text": "a b", "logprobs": {"tokens": ["a", " b"]}}) == "a b"
    raw = [entry("a", [97]), entry(" b", [32, 98])]
    assert read({**choice, "logprobs": {"content": raw}}) == "a b"


def test_bytes_of_a_character_split_over_tokens_are_put_together():
    halves = [entry("�", [0xF0, 0x9F]), entry("�", [0x98, 0x80])]
    first, second = ({"delta": {"content": ""}, "logprobs": {"content": [one]}} for one in halves)
    assert "\U0001f600" in read(first, second)


def test_halves_of_a_surrogate_pair_are_put_together():
    assert read({"text": "\ud83d"}, {"text": "\ude00"}) == "\U0001f600"


def test_parallel_calls_are_read_apart_and_pieces_of_one_together():
    calls = [{"function": {"name": "ab"}}, {"function": {"name": "cd"}}]
    assert read({"message": {"tool_calls": calls}}) == "ab\ncd"
    pieces = [{"index": 1, "function": {"arguments": piece}} for piece in ("a", "b")]
    assert read(*({"delta": {"tool_calls": [piece]}} for piece in pieces)) == "ab"


def test_usage_is_counts_and_nothing_else():
    usage = {"total_tokens": 3, "prompt_tokens_details": {"cached_tokens": 1, "x": "bad"}}
    bad = {**usage, "y": "bad", "z": ["bad"]}
    assert clean_usage(bad) == {"total_tokens": 3, "prompt_tokens_details": {"cached_tokens": 1}}
    assert clean_usage(None) is None
