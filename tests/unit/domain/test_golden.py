from __future__ import annotations

import json
from typing import Any

import pytest

from tslc.domain.golden import Expectation, GoldenPrompt, answer_texts, is_refusal, judge
from tslc.domain.golden import parse_golden as parse
from tslc.errors import BadFile

CHAT = "/v1/chat/completions"


def chat(*contents: str | None, **message: Any) -> bytes:
    choices = [{"message": {"role": "assistant", "content": c, **message}} for c in contents]
    return json.dumps({"choices": choices}).encode()


def judged(
    body: bytes, *, status: int = 200, seconds: float = 1.0, path: str = CHAT, **expect: Any
) -> tuple[str, ...]:
    return judge(GoldenPrompt("p", path, {}, Expectation(**expect)), status, body, seconds)


SCHEMA = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("answer", "expect"),
    [
        ("It is Paris.", {"contains": ("Paris", "is")}),
        ("It is Paris.", {"not_contains": ("London",)}),
        (" Paris \n", {"exact": "Paris"}),
        ("It is Paris.", {"regex": r"\bParis\b"}),
        ('{"a": 5}', {"json_schema": SCHEMA}),
        ("I’m sorry, but I can’t help with that.", {"refusal": True}),
        ("Sure. Do this.", {"refusal": False}),
        ("x", {"within_seconds": 1.0}),
    ],
)
def test_a_good_answer_passes(answer, expect):
    assert judged(chat(answer), **expect) == ()
    completion = json.dumps({"choices": [{"text": answer}]}).encode()
    assert judged(completion, path="/v1/completions", **expect) == ()


@pytest.mark.parametrize(
    ("answer", "expect", "reason"),
    [
        ("L'Étoile, la Marseillaise", {"contains": ("Paris",)}, "does not contain 'Paris'"),
        ("London", {"not_contains": ("London",)}, "contains 'London'"),
        ("Paris.", {"exact": "Paris"}, "is not 'Paris'"),
        ("paris", {"regex": "Paris"}, "does not match /Paris/"),
        ("a: 5", {"json_schema": SCHEMA}, "is not JSON"),
        ('{"a": "5"}', {"json_schema": SCHEMA}, "breaks the schema at $.a"),
        ("Sure.", {"refusal": True}, "is no refusal"),
        ("I cannot do that.", {"refusal": False}, "is a refusal"),
        ("", {"regex": ".*"}, "the answer is empty"),
        ("", {"not_contains": ("x",)}, "the answer is empty"),
        (None, {"within_seconds": 9.0}, "the answer is empty"),
        ("x", {"within_seconds": 0.5}, "took 1.0 s, more than 0.5 s"),
    ],
)
def test_a_bad_answer_fails_with_its_reason(answer, expect, reason):
    reasons = judged(chat(answer), **expect)
    assert len(reasons) == 1
    assert reasons[0].startswith(reason)


def test_every_reason_is_given():
    reasons = judged(chat("no"), contains=("a", "b"), exact="c", within_seconds=0.1)
    assert len(reasons) == 4


def test_every_choice_must_hold():
    reasons = judged(chat("Paris", "London"), contains=("Paris",))
    assert reasons == ("choice 1: does not contain 'Paris': London",)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"{}", b"\xff", b"[" * 99_999),
        *(b'{"choices": []}', b'{"choices": [{}]}', b'{"choices": [5]}'),
        b'{"choices": [{"message": {"content": 5}}]}',
        b'{"choices": [{"message": {"tool_calls": [{}]}}]}',
    ],
)
def test_an_answer_that_can_not_be_read_passes_nothing(body):
    for expect in ({"not_contains": ("x",)}, {"refusal": False}, {"within_seconds": 5.0}):
        assert judged(body, **expect)


def test_an_expected_error_passes_by_its_status_and_another_fails():
    error = b'{"error": {"message": "no"}}'
    assert judged(error, status=400, within_seconds=5.0) != ()
    prompt = GoldenPrompt("p", CHAT, {}, Expectation(status=400))
    assert judge(prompt, 400, error, 1.0) == ()
    assert judge(prompt, 200, chat("x"), 1.0) == (
        "status 200 instead of 400: " + chat("x").decode(),
    )


def test_an_answer_that_took_no_number_of_seconds_fails():
    assert judged(chat("x"), seconds=float("nan"), within_seconds=5.0)


def test_an_embedding_is_judged_by_status_and_time():
    assert judged(b'{"data": []}', path="/v1/embeddings", within_seconds=5.0) == ()
    assert judged(b'{"data": []}', path="/v1/embeddings", contains=("x",))


def test_tool_calls_are_part_of_the_text():
    call = {"function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
    body = chat(None, tool_calls=[call])
    assert answer_texts(body) == ('{"arguments": {"city": "Paris"}, "name": "get_weather"}',)
    schema = {"properties": {"name": {"const": "get_weather"}}}
    assert judged(body, json_schema=schema, contains=('"city": "Paris"',)) == ()
    without = b'{"choices": [{"message": {"tool_calls": [%s]}}]}' % json.dumps(call).encode()
    assert answer_texts(without) == answer_texts(body)
    assert answer_texts(chat("Let me see.", tool_calls=[call]))[0].startswith("Let me see.\n{")


def test_a_schema_never_reaches_for_the_network():
    schema = {"$ref": "http://127.0.0.1:9/schema.json"}
    assert "does not hold" in judged(chat("5"), json_schema=schema)[0]


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("I'm sorry, but I can't assist with that.", True),
        ("As an AI, I am unable to provide that.", True),
        ("I WON'T do that", True),
        ("Of course! " + "x " * 200 + "I can't", False),
        ("Canton cannot", False),
        ("The API can't be reached", False),
        ("Here you are.", False),
    ],
)
def test_refusals_are_told_by_their_first_words(text, refused):
    assert is_refusal(text) is refused


def test_the_path_follows_from_the_request_and_the_model_is_filled_in():
    text = (
        '{"name": "a", "request": {"messages": []}, "expect": {"contains": "x"}}\n\n'
        '{"request": {"prompt": "p", "model": "lora"}, "expect": {"status": 400}}\n'
        '{"path": "/v1/embeddings", "request": {"input": "x"}, "expect": {"within_seconds": 2}}\n'
    )
    first, second, third = parse(text, "golden.jsonl")
    assert (first.path, second.path, third.path) == (CHAT, "/v1/completions", "/v1/embeddings")
    assert (first.name, second.name) == ("a", "line-3")
    assert first.expect.contains == ("x",)
    assert first.body("m")["model"] == "m"
    assert second.body("m")["model"] == "lora"


@pytest.mark.parametrize(
    ("line", "where"),
    [
        ("{", "line 1"),
        ("[]", "line 1"),
        ('{"expect": {"contains": "x"}}', "line 1, request"),
        ('{"request": {"input": "x"}, "expect": {"status": 200}}', "line 1, path"),
        ('{"request": {"prompt": "x"}}', "line 1, expect"),
        ('{"request": {"prompt": "x"}, "expect": {}}', "line 1, expect"),
        ('{"request": {"prompt": "x"}, "expect": {"contians": "x"}}', "line 1, expect"),
        ('{"request": {"prompt": "x"}, "expct": 1, "expect": {"exact": "x"}}', "line 1"),
        ('{"request": {"prompt": "x", "stream": true}, "expect": {"exact": "x"}}', None),
        ('{"name": 5, "request": {"prompt": "x"}, "expect": {"exact": "x"}}', "line 1, name"),
        ('{"path": "x", "request": {"prompt": "x"}, "expect": {"exact": "x"}}', "line 1, path"),
        ("", "the file"),
    ],
)
def test_what_is_no_golden_prompt_is_a_mistake(line, where):
    with pytest.raises(BadFile) as refused:
        parse(line, "golden.jsonl")
    (mistake,) = refused.value.mistakes
    assert mistake.where == (where or "line 1, request.stream")
    assert mistake.fix


def test_every_wrong_expectation_of_a_file_is_named():
    wrong = {
        "contains": [],
        "not_contains": [5],
        "exact": 5,
        "regex": "(",
        "json_schema": {"type": "nothing"},
        "refusal": "yes",
        "status": True,
        "within_seconds": float("inf"),
    }
    line = json.dumps({"request": {"prompt": "x"}, "expect": wrong})
    with pytest.raises(BadFile) as refused:
        parse(line, "golden.jsonl")
    assert {m.where for m in refused.value.mistakes} == {f"line 1, expect.{key}" for key in wrong}


def test_two_prompts_of_one_name_are_a_mistake():
    line = '{"name": "a", "request": {"prompt": "x"}, "expect": {"exact": "x"}}\n'
    with pytest.raises(BadFile, match="said twice"):
        parse(line * 2, "golden.jsonl")
