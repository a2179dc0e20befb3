"""A crowd of clients on both doors of a version: each asks, one thing after the other, and checks
that what it gets is the answer to its own question. Some ask wrongly, some leave midway.

What is asked is decided by a `Script`; this module carries it out and counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from nodes import Node

USERS = 64
BAD_SHARE, LEAVING_SHARE = 0.1, 0.1
_GIVE_UP_SECONDS = 60.0


@dataclass(frozen=True)
class Call:
    """One request and what must come of it.

    `problem` looks at the body of an answer with the right status and says what is wrong with it,
    or nothing. A client that leaves does so after some events of a stream, or after some seconds
    when the answer is whole; the answer's end must not come before.
    """

    kind: str
    path: str
    content: bytes
    status: int = 200
    problem: Callable[[str], str | None] = lambda _: None
    leave_after_events: int = 0
    leave_after_seconds: float = 0.0


Script = Callable[[random.Random, str, str], Call]
"""(dice, the user's and request's own word, the door's name) -> what to ask."""


def body(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def events(text: str) -> list[Any]:
    """The events of a stream's text, less the closing [DONE]. Raises ValueError without it."""
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    if not lines or lines.pop() != "[DONE]":
        raise ValueError("the stream was cut short")
    return [json.loads(line) for line in lines]


def text_of(answer: str, stream: bool) -> str:
    """What the model said, in a chat or a completion, streamed or whole."""
    if stream:
        choices = [event["choices"][0] for event in events(answer)]
    else:
        choices = json.loads(answer)["choices"]
        assert len(choices) == 1
    return "".join(
        one["text"] if "text" in one else one.get("message", one.get("delta")).get("content") or ""
        for one in choices
    )


def told(part: str) -> Callable[[str], str | None]:
    """The problem with an error that does not say `part`."""

    def problem(answer: str) -> str | None:
        error = json.loads(answer)["error"]
        return None if part in error["message"] else f"{part!r} is not in {error}"

    return problem


def mixed(
    good: Callable[[random.Random, str], Call],
    bad: Callable[[random.Random, str], Call],
    leaving: Callable[[random.Random, str, str], Call],
) -> Script:
    """One in ten asks wrongly, one in ten leaves midway."""

    def script(dice: random.Random, word: str, door: str) -> Call:
        roll = dice.random()
        if roll < BAD_SHARE:
            return bad(dice, word)
        if roll < BAD_SHARE + LEAVING_SHARE:
            return leaving(dice, word, door)
        return good(dice, word)

    return script


@dataclass
class Tally:
    """How often each kind of call went as it should, by (door, kind); and every failure."""

    done: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def count(self, kind: str = "", door: str = "") -> int:
        """Calls whose kind begins with `kind`, through `door` (or any)."""
        return sum(
            number
            for (one_door, one_kind), number in self.done.items()
            if one_kind.startswith(kind) and door in (one_door, "")
        )

    def __str__(self) -> str:
        kinds = "  ".join(f"{d}/{k} {n}" for (d, k), n in sorted(self.done.items()))
        return f"{self.count()} requests, {len(self.failures)} failures: {kinds}"


@dataclass(frozen=True)
class Doors:
    """Where the direct door's socket is, whose process it is, and the bridge's URL and key."""

    socket: Path
    worker: int
    bridge_url: str
    key: str

    def client(self, door: str) -> httpx.AsyncClient:
        if door == "direct":
            transport = httpx.AsyncHTTPTransport(uds=str(self.socket))
            return httpx.AsyncClient(transport=transport, base_url="http://door", timeout=None)
        headers = {"authorization": f"Bearer {self.key}"}
        return httpx.AsyncClient(base_url=self.bridge_url, headers=headers, timeout=None)


def doors_of(node: Node, model: str, version: str = "1.0.0") -> Doors:
    socket = node.door(model, version)
    url = f"{node.inference_url}/predictions/{model}/{version}"
    return Doors(socket, int(socket.stem.split("@")[2]), url, node.inference_key())


async def crowd(doors: Doors, script: Script, seconds: float, seed: int, tally: Tally) -> None:
    """USERS clients at once for `seconds`, half of them on each door; what they began, they end."""
    end = time.monotonic() + seconds

    async def user(number: int) -> None:
        door = ("direct", "bridge")[number % 2]
        dice = random.Random(f"{seed}/{number}")
        async with doors.client(door) as client:
            turn = 0
            while time.monotonic() < end:
                turn += 1
                call = script(dice, f"r{seed}u{number}t{turn}", door)
                await _ask(client, call, door, f"r{seed}u{number}t{turn}", tally)

    async with asyncio.TaskGroup() as users:
        for number in range(USERS):
            users.create_task(user(number))


async def _ask(client: httpx.AsyncClient, call: Call, door: str, word: str, tally: Tally) -> None:
    try:
        async with asyncio.timeout(_GIVE_UP_SECONDS):
            problem = await _outcome(client, call, word)
    except TimeoutError:
        problem = f"no answer within {_GIVE_UP_SECONDS:g} s"
    except httpx.HTTPError as error:
        problem = f"{type(error).__name__}: {error}"
    if problem is None:
        tally.done[door, call.kind] += 1
    else:
        tally.failures.append(f"{door} {call.kind} {word}: {problem}")


async def _outcome(client: httpx.AsyncClient, call: Call, word: str) -> str | None:
    headers = {"content-type": "application/json", "x-request-id": word}
    if call.leave_after_events:
        return await _leave_stream(client, call, headers)
    asking = client.post(call.path, content=call.content, headers=headers)
    if call.leave_after_seconds:
        with contextlib.suppress(TimeoutError):
            answer = await asyncio.wait_for(asking, call.leave_after_seconds)
            return f"answered {answer.status_code} too soon to be left: {answer.text[:300]}"
        return None
    answer = await asking
    if answer.status_code != call.status:
        return f"status {answer.status_code}, not {call.status}: {answer.text[:300]}"
    try:
        return call.problem(answer.text)
    except (AssertionError, LookupError, TypeError, ValueError) as error:
        return f"malformed ({error!r}): {answer.text[:300]}"


async def _leave_stream(
    client: httpx.AsyncClient, call: Call, headers: Mapping[str, str]
) -> str | None:
    text = ""
    async with (
        client.stream("POST", call.path, content=call.content, headers=headers) as answer,
        contextlib.aclosing(answer.aiter_text()) as pieces,
    ):
        async for piece in pieces:
            text += piece
            if text.count("data: {") >= call.leave_after_events:
                return None
    return f"status {answer.status_code}, too short a stream to be left: {text[:300]}"
