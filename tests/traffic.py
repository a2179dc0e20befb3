"""Constant traffic on a router: so many requests a second, half of them streams, each looked at.

Requests begin at their times whatever became of those before, as users do. What is counted is what
a user would call failed: no answer, a wrong status, a stream without its end, text that is not the
answer to his question.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import aiohttp

_GIVE_UP_SECONDS = 120.0


@dataclass(frozen=True)
class Told:
    """One answer: when it was asked for (time.monotonic), by whom, which version it was."""

    began: float
    user: str
    version: str
    stream: bool
    failure: str = ""
    seconds: float = 0.0


@dataclass
class Traffic:
    """`answers` grows while it runs; `stop` waits for those under way."""

    url: str
    model: str
    per_second: float = 50.0
    tokens: int = 4
    delay: float = 0.01
    users: int = 500
    key: str | None = None
    extra: Mapping[str, object] = field(default_factory=dict)
    answers: list[Told] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def failures(self) -> list[str]:
        return [one.failure for one in self.answers if one.failure]

    def versions(self, since: float = 0.0) -> Counter[str]:
        return Counter(one.version for one in self.answers if one.began >= since)

    def last(self, version: str) -> float:
        """When the last request that this version answered was begun."""
        return max((one.began for one in self.answers if one.version == version), default=0.0)

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=_GIVE_UP_SECONDS)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            tasks = set()
            start, number = time.monotonic(), 0
            while not self._stopping.is_set():
                pause = start + number / self.per_second - time.monotonic()
                if pause > 0:
                    await asyncio.sleep(pause)
                task = asyncio.create_task(self._ask(session, number))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                number += 1
            await asyncio.gather(*tasks)

    async def _ask(self, session: aiohttp.ClientSession, number: int) -> None:
        began, stream = time.monotonic(), number % 2 == 0
        user, word = f"user-{number % self.users}", f"word{number}"
        tiny = {"tiny": {"delay": self.delay}} if self.delay else {}
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": word}],
            "max_tokens": self.tokens,
            "stream": stream,
            **tiny,
            **self.extra,
        }
        headers = {"x-user-id": user}
        if self.key:
            headers["authorization"] = f"Bearer {self.key}"
        version, failure = "", ""
        try:
            async with session.post(
                f"{self.url}/v1/chat/completions", json=body, headers=headers
            ) as answer:
                version = answer.headers.get("x-tslc-version", "")
                text = await answer.text()
                failure = _problem(answer.status, text, stream, word if tiny else None)
        except (aiohttp.ClientError, TimeoutError) as error:
            failure = f"{type(error).__name__}: {error}"
        seconds = time.monotonic() - began
        self.answers.append(Told(began, user, version, stream, failure, seconds))


def _problem(status: int, text: str, stream: bool, word: str | None) -> str:
    """What is wrong with an answer; empty when nothing is."""
    if status != 200:
        return f"{status}: {text[:200]}"
    try:
        if not stream:
            said = json.loads(text)["choices"][0]["message"]["content"]
        else:
            lines = [line for line in text.split("\n\n") if line]
            if lines[-1:] != ["data: [DONE]"]:
                return f"a broken stream: {text[-200:]!r}"
            events = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
            said = "".join(one["choices"][0]["delta"].get("content") or "" for one in events)
    except (ValueError, LookupError, TypeError) as error:
        return f"{error!r}: {text[:200]}"
    return "" if word is None or word in said else f"somebody else's answer: {said[:100]!r}"


@contextmanager
def flowing(traffic: Traffic) -> Iterator[Traffic]:
    """The traffic runs in a thread of its own while the body does."""
    thread = threading.Thread(target=lambda: asyncio.run(traffic.run()))
    thread.start()
    try:
        yield traffic
    finally:
        traffic.stop()
        thread.join(_GIVE_UP_SECONDS + 10)


async def rush(
    url: str, body: object, key: str, *, clients: int, each: int
) -> Counter[tuple[int, str]]:
    """So many clients at once, each asking the same so often, one thing after the other: how often
    which status and text came. The clients cost little beside what they ask."""
    found: Counter[tuple[int, str]] = Counter()
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        headers={"authorization": f"Bearer {key}"},
        timeout=aiohttp.ClientTimeout(total=_GIVE_UP_SECONDS),
    ) as session:

        async def client() -> None:
            for _ in range(each):
                async with session.post(url, json=body) as answer:
                    found[answer.status, await answer.text()] += 1

        await asyncio.gather(*(client() for _ in range(clients)))
    return found
