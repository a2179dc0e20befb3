"""64 clients on both doors of the real model, some asking wrongly, some leaving.

TSLC_SOAK_SECONDS sets the length; the time to warm up comes on top.
"""

from __future__ import annotations

import asyncio
import os
import random

import pytest
from tests.e2e.conftest import MODEL, Quickstart

import jvm
from crowd import Call, Tally, body, crowd, doors_of, mixed, text_of, told
from footprint import figures, footprint, quiet

pytestmark = pytest.mark.soak

SECONDS = float(os.environ.get("TSLC_SOAK_SECONDS", "15"))
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
RUNNING = "vllm:num_requests_running"


def good(dice: random.Random, word: str) -> Call:
    """Answers that show whose they are: a completion repeats its prompt, a chat may only say the
    one word it was allowed."""
    stream = dice.random() < 0.5
    kind = "good-stream" if stream else "good"
    if dice.random() < 0.5:
        prompt = f"{word} went to sea and"
        content = body(
            model=MODEL,
            prompt=prompt,
            echo=True,
            max_tokens=dice.randint(1, 16),
            ignore_eos=True,
            stream=stream,
        )

        def echoed(answer: str) -> str | None:
            said = text_of(answer, stream)
            return None if said.startswith(prompt) and said > prompt else said

        return Call(kind, COMPLETIONS, content, problem=echoed)
    content = body(
        model=MODEL,
        messages=[{"role": "user", "content": f"Say {word}."}],
        structured_outputs={"choice": [word]},
        max_tokens=24,
        stream=stream,
    )

    def allowed(answer: str) -> str | None:
        said = text_of(answer, stream)
        return None if said == word else said

    return Call(kind, CHAT, content, problem=allowed)


def bad(dice: random.Random, word: str) -> Call:
    def chat(**fields: object) -> bytes:
        messages = [{"role": "user", "content": "hi"}]
        return body(**{"model": MODEL, "messages": messages, "max_tokens": 4, **fields})

    number = dice.randint(10_000, 99_999)
    return dice.choice(
        (
            Call("bad-json", CHAT, b'{"messages": ' + word.encode(), 400, told("JSON")),
            Call("bad-fields", COMPLETIONS, body(model=MODEL), 400, told("prompt")),
            Call("bad-path", f"/v1/{word}", b"{}", 404, told(f"/v1/{word} is not served here")),
            Call("bad-model", CHAT, chat(model=word), 404, told(word)),
            Call("bad-length", CHAT, chat(max_tokens=number), 400, told(str(number))),
            Call("bad-value", CHAT, chat(temperature=-number, stream=True), 400, told(str(number))),
        )
    )


def leaving(dice: random.Random, word: str, door: str) -> Call:
    """Through the direct door minutes of generation, which must stop; through the bridge, where it
    goes on, seconds."""
    tokens, stream = 1800 if door == "direct" else 48, dice.random() < 0.5
    content = body(
        model=MODEL, prompt=f"{word} is", max_tokens=tokens, ignore_eos=True, stream=stream
    )
    if stream:
        return Call("left-stream", COMPLETIONS, content, leave_after_events=dice.randint(1, 6))
    return Call("left", COMPLETIONS, content, leave_after_seconds=0.5)


async def test_a_crowd_gets_its_own_answers_and_leaves_nothing(quickstart: Quickstart) -> None:
    node = quickstart.node
    doors = doors_of(node, MODEL)
    warm_up, tally = Tally(), Tally()
    async with doors.client("direct") as direct:
        await crowd(doors, mixed(good, bad, leaving), SECONDS / 3, 1, warm_up)
        await quiet(direct, seconds=20)
        before = footprint(node.pid, doors.worker)
        await crowd(doors, mixed(good, bad, leaving), SECONDS, 2, tally)
        await quiet(direct, RUNNING, seconds=10)  # the bridge's are generated to their end
        await quiet(direct)
        after = footprint(node.pid, doors.worker)
    print(f"\n{SECONDS:g} s: {tally}\nbefore {before}\nafter  {after}\ngrown  {after - before}")
    assert warm_up.failures + tally.failures == []
    assert jvm.kept_jobs(node.pid) == 0
    (after - before).assert_flat(tally.count())


@pytest.mark.parametrize("stream", [True, False])
async def test_vllm_stops_generating_for_who_leaves_the_direct_door(
    quickstart: Quickstart, stream: bool
) -> None:
    doors = doors_of(quickstart.node, MODEL)
    asked = {"model": MODEL, "prompt": "The sea", "max_tokens": 1800, "ignore_eos": True}
    async with doors.client("direct") as direct, doors.client("direct") as leavers:
        tasks = [
            asyncio.create_task(leavers.post(COMPLETIONS, json=asked | {"stream": stream}))
            for _ in range(8)
        ]
        async with asyncio.timeout(10):
            while (await figures(direct))(RUNNING) < len(tasks):
                await asyncio.sleep(0.05)
        hung_up = (await figures(direct))("tslc_hang_ups_total")
        for task in tasks:
            task.cancel()
        await quiet(direct, RUNNING, seconds=3)
        assert (await figures(direct))("tslc_hang_ups_total") == hung_up + len(tasks)
