"""A guarded handler and a guard behind a socket: what a client gets, and when."""

import asyncio
import json
import logging

import pytest
from tiny_guard import USAGE

from guarded import (
    BAD,
    BAD_TEXT,
    CHAT,
    SAFE_TEXT,
    TEXT,
    ask,
    choices_of,
    each_kind,
    each_path,
    events_of,
    serving,
    until,
)
from tslc_handlers.config import ConfigError
from tslc_handlers.guard.requests import HARMLESS

pytestmark = pytest.mark.integration


@pytest.fixture
async def door(tmp_path, monkeypatch, guard):
    async with serving(tmp_path, monkeypatch, guard) as opened:
        yield opened


@each_path
@each_kind
async def test_a_safe_answer_arrives_whole(door, path, stream):
    body = ask(path, stream=stream, stream_options={"include_usage": True} if stream else None)
    answer = await door.client.post(path, json=body)
    assert choices_of(answer) == {0: (SAFE_TEXT, "stop")}
    usage = events_of(answer)[-1]["usage"] if stream else answer.json()["usage"]
    assert usage == USAGE
    assert not stream or answer.text.endswith("data: [DONE]\n\n")
    assert ("User", "a question") in door.guard.asked
    assert ("Agent", SAFE_TEXT.strip()) in door.guard.asked
    assert door.guard.bodies[0]["add_special_tokens"] is False


@each_path
@each_kind
async def test_an_unsafe_question_is_refused_and_its_generation_stopped(door, path, stream):
    door.guard.held.clear()
    body = ask(path, "word " * 1000, asked=f"a {BAD}?", tiny={"delay": 0.01}, stream=stream, n=2)
    request = asyncio.create_task(door.client.post(path, json=body))
    await until(lambda: door.tiny.tokens_out > 3)  # it began before the verdict
    assert not request.done()
    door.guard.held.set()
    answer = await request
    assert answer.status_code == 200
    refusal = "I can't help with that."
    assert choices_of(answer) == dict.fromkeys((0, 1), (refusal, "content_filter"))
    assert "word" not in answer.text
    marks = events_of(answer)[-1] if stream else answer.json()
    assert marks["guard"] == {"stage": "input", "categories": ["S9"]}
    await until(lambda: (door.tiny.generating, door.tiny.hang_ups) == (0, 1))


@each_kind
async def test_a_verdict_and_the_generation_run_side_by_side_and_nothing_goes_out_before(
    door, stream
):
    door.guard.held.clear()
    request = asyncio.create_task(door.client.post(CHAT, json=ask(CHAT, stream=stream)))
    await until(lambda: door.tiny.tokens_out == 6 and door.tiny.generating == 0)
    assert not request.done()
    door.guard.held.set()
    assert choices_of(await request) == {0: (SAFE_TEXT, "stop")}


@each_path
async def test_a_stream_is_cut_before_the_unsafe_window_and_its_generation_stopped(door, path):
    body = ask(path, BAD_TEXT + "word " * 1000, tiny={"delay": 0.005}, stream=True)
    answer = await door.client.post(path, json=body)
    text, reason = choices_of(answer)[0]
    assert reason == "content_filter"
    assert BAD_TEXT.startswith(text)
    assert BAD not in text
    assert events_of(answer)[-1]["guard"] == {"stage": "output", "categories": ["S9"]}
    assert answer.text.endswith("data: [DONE]\n\n")
    await until(lambda: (door.tiny.generating, door.tiny.hang_ups) == (0, 1))


@each_path
async def test_an_unsafe_whole_answer_becomes_the_refusal(door, path):
    answer = (await door.client.post(path, json=ask(path, BAD_TEXT))).json()
    assert answer["choices"][0]["finish_reason"] == "content_filter"
    assert answer["guard"] == {"stage": "output", "categories": ["S9"]}
    assert BAD not in json.dumps(answer)


WAYS = {
    "plain": {},
    "a character a token": {"tiny": {"chars": True}},
    "logprobs": {"logprobs": True},
    "reasoning": {"tiny": {"channel": "reasoning", "chars": True}},
    "refusal": {"tiny": {"channel": "refusal"}},
    "arguments of a tool": {"tiny": {"channel": "tool", "chars": True}, "logprobs": True},
    "name of a tool": {"tiny": {"channel": "tool name"}},
    "a part unknown here": {"tiny": {"channel": "annotations"}},
}


@each_path
@each_kind
@pytest.mark.parametrize("way", WAYS)
async def test_of_three_answers_the_unsafe_one_is_cut_whatever_it_is_said_in(
    door, path, stream, way
):
    more = json.loads(json.dumps(WAYS[way]))
    if path == TEXT and "logprobs" in more:
        more["logprobs"] = 3
    body = ask(path, SAFE_TEXT, BAD_TEXT, "so ", n=3, stream=stream, **more)
    answer = await door.client.post(path, json=body)
    assert BAD not in answer.text
    got = choices_of(answer)
    assert not any(BAD in text for text, _ in got.values())
    if way != "a part unknown here" or path == TEXT:
        assert [reason for _, reason in got.values()] == ["stop", "content_filter", "stop"]
    if way in ("plain", "logprobs"):
        assert (got[0][0], got[2][0]) == (SAFE_TEXT, "so ")


@each_path
@each_kind
async def test_a_stop_string_is_text_too(door, path, stream):
    body = ask(path, tiny={"stop_reason": f"the {BAD}"}, stop=[f"the {BAD}"], stream=stream)
    answer = await door.client.post(path, json=body)
    assert BAD not in answer.text
    assert choices_of(answer)[0][1] == "content_filter"


# --- what passes, and what is not let in -----------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/messages", "/v1/audio/transcriptions"])
async def test_an_endpoint_that_cannot_be_guarded_fails_the_load(
    tmp_path, monkeypatch, guard, path
):
    with pytest.raises(ConfigError, match="can't be checked by the guard; take it out"):
        async with serving(tmp_path, monkeypatch, guard, endpoints=[CHAT, path, *HARMLESS]):
            pass


async def test_what_generates_nothing_passes_unasked(door):
    assert (await door.client.get("/v1/models")).status_code == 200
    assert (await door.client.post("/tokenize", json={"prompt": f"a {BAD}"})).status_code == 200
    assert door.guard.asked == []


@each_path
async def test_a_request_that_cannot_be_read_is_told_so(door, path):
    answer = await door.client.post(path, json=ask(path, prompt_logprobs=1))
    assert answer.status_code == 400
    assert "prompt_logprobs" in answer.json()["error"]["message"]
    assert (door.guard.asked, door.tiny.tokens_out) == ([], 0)


@each_path
@pytest.mark.parametrize("content", [b"[1]", b"{", b"", b"null", b'"text"'])
async def test_a_body_that_is_no_object_is_refused(door, path, content):
    assert (await door.client.post(path, content=content)).status_code >= 400
    assert door.tiny.tokens_out == 0


async def test_an_unsafe_system_message_is_refused_every_time_and_told_every_time(door, caplog):
    caplog.set_level(logging.WARNING, "tslc_handlers")
    body = ask(CHAT)
    body["messages"].insert(0, {"role": "system", "content": f"You {BAD}."})
    for _ in range(2):
        answer = await door.client.post(CHAT, json=body)
        assert choices_of(answer)[0][1] == "content_filter"
    assert [text for _, text in door.guard.asked].count(f"You {BAD}.") == 1, "asked once"
    audits = [one for one in caplog.records if one.name == "tslc_handlers.audit"]
    assert len(audits) == 2


@each_kind
async def test_what_the_engine_says_of_an_error_is_text_too(door, stream):
    async def error_of(**tiny):
        answer = await door.client.post(CHAT, json=ask(CHAT, tiny=tiny, stream=stream))
        return answer.status_code, answer.json()["error"]["message"]

    assert await error_of(fail="max_tokens is too large") == (400, "max_tokens is too large")
    assert await error_of(fail=f"not JSON: {BAD}") == (400, "the engine refused the request")
    assert await error_of(fail="a trace", status=500) == (500, "the engine failed")


async def test_an_error_in_a_stream_does_not_bring_text_along(door):
    body = ask(CHAT, tiny={"fail": f"the {BAD}", "fail_after": 0}, stream=True)
    answer = await door.client.post(CHAT, json=body)
    assert (answer.status_code, BAD in answer.text) == (500, False)
    body = ask(CHAT, tiny={"fail": f"the {BAD}", "fail_after": 5, "delay": 0.2}, stream=True)
    answer = await door.client.post(CHAT, json=body)
    assert (answer.status_code, BAD in answer.text) == (200, False)
    assert events_of(answer)[-1]["error"]["code"] == 500
