"""What one way to a model adds to the time to the first token, measured in pairs.

Medians of all requests can't tell a millisecond where a first token takes half a second and the
next one twice that. The two of a pair meet the same engine: with one client they follow each other
on an idle one, in turning order; in a crowd they are sent in the same moment, and the engine takes
both up in the same step. Each pair gives one difference; the median of those is quoted. In a crowd
it is mostly the answer's way back: what is lost on the way there is hidden by the wait for the next
step, except where it misses one; and of two answers of one step, the later request's is written
second.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
from collections.abc import Sequence
from contextlib import AsyncExitStack

import aiohttp
import uvloop

from benchmarks.load import PROMPT, Tally, arguments, completion, connected, one

# Enough for the stream to be one; the crowd's answers are longer.
TOKENS = 2
CROWD_TOKENS = 64


def extra_ms(
    base: Sequence[str], other: Sequence[str], *, clients: int, pairs: int
) -> tuple[float, float, float]:
    """The quartiles (ms) of what `other` adds to `base`; both are arguments of benchmarks.load."""
    found = uvloop.run(_pairs([base, other], clients, pairs))
    low, middle, high = statistics.quantiles(found, n=4, method="inclusive")
    return low, middle, high


async def _pairs(ways: Sequence[Sequence[str]], clients: int, pairs: int) -> list[float]:
    told = [arguments().parse_args(list(way)) for way in ways]
    count = itertools.count()
    tally = Tally()
    async with AsyncExitStack() as stack:
        sessions = [await stack.enter_async_context(connected(way)) for way in told]

        async def ask(way: int, tokens: int) -> float:
            # Numbers of the same length: no prompt begins as another did, all are as long.
            question: dict[str, object] = {"prompt": f"{next(count) + 100000} {PROMPT}"}
            body = completion(told[way].model, question, tokens)
            return await one(sessions[way], told[way].url, body, tally) * 1000

        async def crowd(way: int) -> None:
            while True:
                await ask(way, CROWD_TOKENS)

        async def pair(number: int) -> float:
            first = number % 2
            if clients == 1:
                times = {first: await ask(first, TOKENS), 1 - first: await ask(1 - first, TOKENS)}
            else:
                asked = asyncio.gather(ask(first, TOKENS), ask(1 - first, TOKENS))
                times = dict(zip((first, 1 - first), await asked, strict=True))
            return times[1] - times[0]

        others = [asyncio.create_task(crowd(number % 2)) for number in range(clients - 2)]
        try:
            for number in range(4):  # connections are made, the crowd is no longer in step
                await pair(number)
            return [await pair(number) for number in range(pairs)]
        finally:
            for task in others:
                task.cancel()
            for end in await asyncio.gather(*others, return_exceptions=True):
                if isinstance(end, (aiohttp.ClientError, RuntimeError)):
                    raise end
