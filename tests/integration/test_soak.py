"""Minutes of 64 clients on both doors, some asking wrongly, some leaving; the tiny engine.

TSLC_SOAK_SECONDS sets the length; the time to warm up comes on top.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

import jvm
from crowd import Call, Tally, body, crowd, doors_of, events, mixed, text_of, told
from footprint import figures, footprint, quiet
from nodes import Node, TinyArchives

pytestmark = [pytest.mark.integration, pytest.mark.soak, pytest.mark.alone]

MODEL = "soaked"
SECONDS = float(os.environ.get("TSLC_SOAK_SECONDS", "20"))
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


def asked(path: str, words: str, tokens: int, stream: bool, **tiny: object) -> bytes:
    prompt = (
        {"messages": [{"role": "user", "content": words}]} if path == CHAT else {"prompt": words}
    )
    return body(**prompt, max_tokens=tokens, stream=stream, tiny=tiny)


def good(dice: random.Random, word: str) -> Call:
    path, stream = dice.choice((CHAT, COMPLETIONS)), dice.random() < 0.5
    words, tokens = [word, "sea", f"{dice.random()}"], dice.randint(1, 24)
    expected = "".join(f"{words[i % 3]} " for i in range(tokens))

    def problem(answer: str) -> str | None:
        said = text_of(answer, stream)
        return None if said == expected else f"{said!r} is not {expected!r}"

    content = asked(path, " ".join(words), tokens, stream, delay=dice.choice((0, 0.002, 0.01)))
    return Call(f"good{'-stream' if stream else ''}", path, content, problem=problem)


def bad(dice: random.Random, word: str) -> Call:
    def broken_stream(answer: str) -> str | None:
        *said, last = events(answer)
        whose = [event["choices"][0]["text"] for event in said] == [f"{word} "] * 2
        own = f"postprocess_stream failed; request id {word}" in last["error"]["message"]
        return None if whose and own else answer

    def failing(kind: str, status: int, said: str, **tiny: object) -> Call:
        content = asked(COMPLETIONS, word, 4, stream=False, **tiny)
        return Call(kind, COMPLETIONS, content, status, told(said))

    broken = asked(COMPLETIONS, word, 4, stream=True, hook="raise-after")
    return dice.choice(
        (
            Call("bad-json", CHAT, b'{"messages": ' + word.encode(), 400, told("json_invalid")),
            Call("bad-fields", CHAT, b"{}", 400, told("messages: Field required")),
            Call("bad-path", f"/v1/{word}", b"{}", 404, told(f"/v1/{word} is not served here")),
            Call("bad-stream", COMPLETIONS, broken, problem=broken_stream),
            failing("bad-hook", 500, f"preprocess failed; request id {word}", hook="raise"),
            failing("bad-after", 500, f"postprocess failed; request id {word}", hook="raise-after"),
            failing("bad-refused", 451, "not for this reason", hook="refuse"),
            failing("bad-engine", 500, "the tiny engine was asked to fail", crash=True),
        )
    )


def leaving(dice: random.Random, word: str, door: str) -> Call:
    """Through the direct door 50 s of generation, which must stop; through the bridge, where it
    goes on, 2 s."""
    path, stream = dice.choice((CHAT, COMPLETIONS)), dice.random() < 0.5
    tokens, delay = (1000, 0.05) if door == "direct" else (40, 0.05)
    content = asked(path, word, tokens, stream, delay=delay)
    if stream:
        return Call("left-stream", path, content, leave_after_events=dice.randint(1, 4))
    return Call("left", path, content, leave_after_seconds=0.2)


@pytest.fixture
def soaked(node: Node, archives: TinyArchives) -> Iterator[Node]:
    node.cli.ok("register", archives.build(MODEL))
    yield node
    node.cli.ok("unregister", MODEL, "1.0.0")


async def test_a_crowd_for_minutes_gets_its_own_answers_and_leaves_nothing(soaked: Node) -> None:
    doors = doors_of(soaked, MODEL)
    # The node is every test's: some kill workers, and the frontend keeps what those were asked.
    kept = jvm.kept_jobs(soaked.pid)
    warm_up, tally = Tally(), Tally()
    async with doors.client("direct") as direct:
        await crowd(doors, mixed(good, bad, leaving), SECONDS / 3, 1, warm_up)
        await quiet(direct)
        before, earlier = footprint(soaked.pid, doors.worker), await figures(direct)
        await crowd(doors, mixed(good, bad, leaving), SECONDS, 2, tally)
        await quiet(direct, door="direct", seconds=2)
        await quiet(direct)  # those who left through the bridge are still being answered
        after, figure = footprint(soaked.pid, doors.worker), await figures(direct)
    print(f"\n{SECONDS:g} s, {kept} requests kept from before: {tally}")
    print(f"before {before}\nafter  {after}\ngrown  {after - before}")
    assert warm_up.failures + tally.failures == []
    hang_ups = figure("tslc_hang_ups_total") - earlier("tslc_hang_ups_total")
    # Who left a stream had got some of it; others may have left before they were heard.
    assert tally.count("left-stream", "direct") < hang_ups <= tally.count("left", "direct")
    assert jvm.kept_jobs(soaked.pid) <= kept
    (after - before).assert_flat(tally.count())
