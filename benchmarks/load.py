"""Streaming clients that measure: time to first token and tokens a second.

Run as a process of its own, so that the client's work is not the server's:

    python -m benchmarks.load --url URL [--uds PATH] --model M --clients N --requests R --tokens T
                              [--questions FILE]

With a file of questions (JSON lines with `question`) the clients chat, each with questions of its
own turn; else they have a prompt completed.

It prints one JSON object: `tokens_per_second` over the whole run (all tokens, from the first
request to the last byte) and `ttft_ms`, the time to the first token, of each request.

Clients ask for different numbers of tokens (T on average), so that after their first requests,
which all come at once, they are no longer in step; with several clients only the later requests'
times count. A crowd in step measures how long 32 prompts take to read, not what a way costs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import uvloop

PROMPT = "Write a long story about a lighthouse, a storm and the people who lived beside the sea."


# An event with text in it: a chat's first chunk names only the role.
_SAYS = re.compile(rb'"(?:content|text)": ?"[^"]')


@dataclass
class Tally:
    first: list[float] = field(default_factory=list)
    tokens: int = 0


async def one(session: aiohttp.ClientSession, url: str, body: bytes, tally: Tally) -> float:
    """One streamed answer: its tokens are counted, its time to first token (s) returned."""
    started = time.perf_counter()
    first = None
    buffer = b""
    async with session.post(url, data=body) as response:
        response.raise_for_status()
        async for chunk in response.content.iter_any():
            buffer += chunk
            if first is None and _SAYS.search(buffer):
                first = time.perf_counter() - started
    # vLLM streams one token an event here (ignore_eos, plain text); the last event is [DONE].
    events = len(_SAYS.findall(buffer))
    if b"data: [DONE]" not in buffer or first is None:
        raise RuntimeError(f"broken stream: {buffer[-200:]!r}")
    tally.tokens += events
    return first


def asked(questions: Sequence[str], client: int, turn: int) -> dict[str, object]:
    """What a client asks in a turn: no two ask the same at once, and every round the same."""
    if not questions:
        return {"prompt": f"{client}.{turn} {PROMPT}"}
    question = questions[(client * 7 + turn) % len(questions)]
    return {"messages": [{"role": "user", "content": f"{question} ({client}.{turn})"}]}


def completion(model: str, question: dict[str, object], tokens: int) -> bytes:
    """The body of a streamed request that is answered with exactly `tokens` tokens."""
    fixed = {"max_tokens": tokens, "ignore_eos": True, "temperature": 0, "stream": True}
    return json.dumps({"model": model, **question, **fixed}).encode()


def connected(args: argparse.Namespace) -> aiohttp.ClientSession:
    """A session as large as the crowd, on the way that the arguments name."""
    headers = {"content-type": "application/json"}
    if args.token:
        headers["authorization"] = f"Bearer {args.token}"
    connector: aiohttp.BaseConnector = (
        aiohttp.UnixConnector(args.uds, limit=0) if args.uds else aiohttp.TCPConnector(limit=0)
    )
    timeout = aiohttp.ClientTimeout(total=300)
    return aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout)


async def run(args: argparse.Namespace) -> dict[str, float | list[float]]:
    tally = Tally()
    lines = Path(args.questions).read_text("utf-8").splitlines() if args.questions else []
    questions = [json.loads(line)["question"] for line in lines if line.strip()]
    async with connected(args) as session:

        async def client(number: int) -> None:
            spread = (number * 7 + 3) % 17 - 8 if args.clients > 1 else 0
            tokens = args.tokens + spread * args.tokens // 32
            for turn in range(args.requests):
                body = completion(args.model, asked(questions, number, turn), tokens)
                first = await one(session, args.url, body, tally)
                if turn or args.clients == 1:
                    tally.first.append(first)

        started = time.perf_counter()
        await asyncio.gather(*(client(number) for number in range(args.clients)))
        seconds = time.perf_counter() - started
    return {
        "tokens_per_second": tally.tokens / seconds,
        "ttft_ms": [seconds * 1000 for seconds in tally.first],
    }


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--uds")
    parser.add_argument("--token")
    parser.add_argument("--model", required=True)
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--requests", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--questions")
    return parser


def main() -> None:
    print(json.dumps(uvloop.run(run(arguments().parse_args()))))


if __name__ == "__main__":
    main()
