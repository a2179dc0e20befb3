"""A guarded stream: chunks are held until a verdict covers them, while the next are generated."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from tslc_handlers.guard.answers import clean_usage, cut_choice
from tslc_handlers.guard.judge import NoVerdict, Verdict
from tslc_handlers.guard.windows import Snapshot, Window
from tslc_handlers.messages import JSON, HandlerError

logger = logging.getLogger(__name__)

_BASE = ("id", "object", "created", "model", "system_fingerprint")

Ask = Callable[[str], Awaitable[Verdict]]


class GuardedStream:
    """One answer's. `ask` judges an answer's text so far; `choices` is how many were asked for.

    `closed`: what counts against a choice that got no verdict (by the policy it is cut), or None,
    and then NoVerdict becomes the client's error.
    """

    def __init__(
        self,
        ask: Ask,
        *,
        chat: bool,
        window_tokens: int,
        choices: int,
        closed: Verdict | None,
    ) -> None:
        self._ask = ask
        self._chat = chat
        self._tokens = window_tokens
        self._choices = choices
        self._closed = closed
        self._windows: dict[int, Window] = {}
        self._checks: dict[asyncio.Task[Verdict], tuple[Window, Snapshot]] = {}
        self._base: JSON = {}
        self._tail: list[JSON] = []

    async def run(self, events: AsyncIterator[JSON]) -> AsyncIterator[JSON]:
        """Yields what may go out. Ends early when every choice was cut. Raises HandlerError."""
        reading: asyncio.Future[JSON] | None = asyncio.ensure_future(anext(events))
        try:
            while reading is not None or self._checks:
                waiting: set[asyncio.Future[Any]] = {*self._checks}
                if reading is not None:
                    waiting.add(reading)
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in [task for task in self._checks if task in done]:
                    if (cut := self._settle(task)) is not None:
                        yield cut
                if self._all_cut():
                    return
                if reading is not None and reading in done:
                    reading = self._read(reading, events)
                self._begin_checks()
                for event in self._released():
                    yield event
            for event in self._tail:
                yield event
        finally:
            left: list[asyncio.Future[Any]] = [*self._checks]
            if reading is not None:
                left.append(reading)
            for one in left:
                one.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    def _read(
        self, reading: asyncio.Future[JSON], events: AsyncIterator[JSON]
    ) -> asyncio.Future[JSON] | None:
        try:
            event = reading.result()
        except StopAsyncIteration:
            for window in self._windows.values():
                window.close()
            return None
        self._take(event)
        return asyncio.ensure_future(anext(events))

    def _take(self, event: JSON) -> None:
        if "error" in event:
            logger.error("the engine failed in mid-answer: %s", event["error"])
            raise HandlerError(500, "the engine failed in mid-answer")
        self._base = {key: event[key] for key in _BASE if key in event}
        usage = clean_usage(event.get("usage"))
        for choice in event.get("choices") or ():
            index = int(choice.get("index", 0))
            window = self._windows.setdefault(index, Window(index, self._tokens))
            window.take(choice, usage)
        if not event.get("choices") and usage is not None:
            self._tail.append({**self._base, "choices": [], "usage": usage})

    def _begin_checks(self) -> None:
        """Ask about what is due; what says nothing needs no asking."""
        for window in self._windows.values():
            snapshot = window.next_check()
            if snapshot is None:
                continue
            if snapshot.text:
                task = asyncio.ensure_future(self._ask(snapshot.text))
                self._checks[task] = (window, snapshot)
            else:
                window.safe(snapshot)

    def _settle(self, task: asyncio.Task[Verdict]) -> JSON | None:
        """What a verdict changes; gives the event that ends a choice, if it does."""
        window, snapshot = self._checks.pop(task)
        try:
            verdict = task.result()
        except NoVerdict:
            if self._closed is None:
                raise HandlerError(
                    503, "the answer could not be checked, so it is not released"
                ) from None
            verdict = self._closed
        if verdict.safe:
            window.safe(snapshot)
            return None
        window.unsafe()
        guard = {"stage": "output", "categories": list(verdict.codes)}
        return {**self._base, "choices": [cut_choice(self._chat, window.index)], "guard": guard}

    def _all_cut(self) -> bool:
        cut = sum(window.blocked for window in self._windows.values())
        return cut >= max(self._choices, 1)

    def _released(self) -> Iterator[JSON]:
        for window in self._windows.values():
            for chunk in window.releasable():
                counts = {} if chunk.usage is None else {"usage": chunk.usage}
                yield {**self._base, "choices": [chunk.choice], **counts}
