"""A guard that does not judge, one that only watches, and what is told of both."""

import json
import logging
from dataclasses import replace

import pytest

from guard_server import MALFORMED, MOODS, guard_server
from guarded import (
    BAD,
    BAD_TEXT,
    CHAT,
    SAFE_TEXT,
    TEXT,
    ask,
    choices_of,
    count_of,
    each_kind,
    each_path,
    serving,
    until,
)

pytestmark = pytest.mark.integration


@pytest.fixture
async def door(tmp_path, monkeypatch, guard):
    async with serving(tmp_path, monkeypatch, guard) as opened:
        yield opened


@pytest.mark.parametrize("mood", MOODS)
@pytest.mark.parametrize("role", ["User", "Agent"])
@each_kind
async def test_without_a_verdict_there_is_no_answer_and_the_next_one_is_judged_again(
    tmp_path, monkeypatch, guard, mood, role, stream
):
    guard.down, guard.for_roles = mood, (role,)
    seconds = 0.1 if mood == "slow" else 10
    async with serving(tmp_path, monkeypatch, guard, timeout_seconds=seconds) as door:
        answer = await door.client.post(CHAT, json=ask(CHAT, stream=stream))
        assert answer.status_code == 503, answer.text
        assert answer.json()["error"]["code"] == 503
        assert "could not be checked" in answer.json()["error"]["message"]
        guard.down = None
        door.handler.judge.policy = replace(door.handler.policy, timeout_seconds=10)
        again = await door.client.post(CHAT, json=ask(CHAT, stream=stream))
        assert choices_of(again) == {0: (SAFE_TEXT, "stop")}
        await until(lambda: door.tiny.generating == 0)


@pytest.mark.parametrize("role", ["User", "Agent"])
@each_kind
async def test_without_a_verdict_it_is_a_refusal_where_the_policy_says_so(
    tmp_path, monkeypatch, guard, role, stream
):
    guard.down, guard.for_roles = "babbling", (role,)
    async with serving(tmp_path, monkeypatch, guard, on_error="refuse", refusal="No.") as door:
        answer = await door.client.post(CHAT, json=ask(CHAT, stream=stream))
        assert answer.status_code == 200
        text, reason = choices_of(answer)[0]
        assert reason == "content_filter"
        assert text in ("No.", "")


@pytest.mark.parametrize("malformed", MALFORMED)
async def test_no_malformed_answer_is_a_yes(door, malformed):
    door.guard.down, door.guard.malformed = "malformed", malformed
    answer = await door.client.post(CHAT, json=ask(CHAT))
    assert answer.status_code == 503


async def test_a_guard_that_is_gone_is_no_yes(tmp_path, monkeypatch):
    with guard_server() as server:
        pass
    async with serving(tmp_path, monkeypatch, server) as door:
        assert (await door.client.post(TEXT, json=ask(TEXT))).status_code == 503


async def test_a_stream_that_has_begun_ends_with_an_error_when_the_guard_fails(door):
    body = ask(CHAT, "a b c d e f " * 50, tiny={"delay": 0.01}, stream=True)
    got = ""
    async with door.client.stream("POST", CHAT, json=body) as answer:
        async for text in answer.aiter_text():
            got += text
            door.guard.down = "500"
    assert answer.status_code == 200
    *_, last = [json.loads(line[6:]) for line in got.split("\n\n") if line.startswith("data: {")]
    assert last["error"]["code"] == 503


# --- told: monitor mode, metrics, audit ------------------------------------------------------


@each_path
@each_kind
async def test_monitor_mode_lets_through_and_counts(tmp_path, monkeypatch, guard, path, stream):
    async with serving(tmp_path, monkeypatch, guard, mode="monitor") as door:
        counts = [("input", "monitor", "S9"), ("output", "monitor", "S9")]
        before = [count_of(*one) for one in counts]
        body = ask(path, BAD_TEXT, asked=f"a {BAD}?", stream=stream)
        answer = await door.client.post(path, json=body)
        assert choices_of(answer) == {0: (BAD_TEXT, "stop")}
        await until(lambda: [count_of(*one) for one in counts] == [one + 1 for one in before])


async def test_monitor_mode_lets_through_what_it_cannot_read_and_a_guard_that_is_out(
    tmp_path, monkeypatch, guard
):
    async with serving(tmp_path, monkeypatch, guard, mode="monitor") as door:
        before = count_of("input", "no_verdict", "none")
        answer = await door.client.post(CHAT, json=ask(CHAT, unknown_field=1))
        assert choices_of(answer) == {0: (SAFE_TEXT, "stop")}
        assert count_of("input", "no_verdict", "none") == before + 1
        guard.down = "500"
        answer = await door.client.post(CHAT, json=ask(CHAT))
        assert choices_of(answer) == {0: (SAFE_TEXT, "stop")}
        await until(lambda: count_of("input", "no_verdict", "none") == before + 2)


@pytest.mark.parametrize("with_text", [False, True])
async def test_what_was_blocked_is_counted_and_written_without_its_text(
    tmp_path, monkeypatch, guard, caplog, with_text
):
    caplog.set_level(logging.WARNING, "tslc_handlers")
    async with serving(tmp_path, monkeypatch, guard, audit_text=with_text) as door:
        before = count_of("input", "block", "S9"), count_of("output", "block", "S9")
        headers = {"x-request-id": "request-1"}
        await door.client.post(CHAT, json=ask(CHAT, asked=f"a {BAD}?"), headers=headers)
        await door.client.post(CHAT, json=ask(CHAT, BAD_TEXT), headers=headers)
        after = count_of("input", "block", "S9"), count_of("output", "block", "S9")
        assert after == (before[0] + 1, before[1] + 1)
        page = (await door.client.get("/metrics")).text
        assert 'tslc_guard_seconds_count{stage="output"}' in page
    lines = [json.loads(r.message) for r in caplog.records if r.name == "tslc_handlers.audit"]
    assert [(one["stage"], one["decision"]) for one in lines] == [
        ("input", "block"),
        ("output", "block"),
    ]
    assert all(one["categories"] == {"S9": 1.0} for one in lines)
    assert all(one["request_id"] == "request-1" and len(one["sha256"]) == 64 for one in lines)
    assert (BAD in caplog.text) == with_text
