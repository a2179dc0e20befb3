"""A guard behind a real socket: text completions with log probabilities, as vLLM serves them.

It reads the prompt of Llama Guard and calls the last turn unsafe if a word of `unsafe` is in it.
How it misbehaves is set by the test: `down` is one of `MOODS`, and for which role.
"""

from __future__ import annotations

import asyncio
import json
import math
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

MALFORMED = (
    *("", "null", "[]", "{}", '{"choices": []}', '{"choices": [{"text": "safe"}]}'),
    '{"choices": [{"logprobs": null}]}',
    '{"choices": [{"logprobs": {"tokens": null, "top_logprobs": null}}]}',
    '{"choices": [{"logprobs": {"tokens": [5], "top_logprobs": [{"safe": 0}]}}]}',
    '{"choices": [{"logprobs": {"tokens": ["safe"], "top_logprobs": []}}]}',
    '{"choices": [{"logprobs": {"tokens": ["safe"], "top_logprobs": [["safe"]]}}]}',
    '{"choices": [{"logprobs": {"tokens": ["safe"], "top_logprobs": [{"safe": null}]}}]}',
    '{"choices": [{"logprobs": {"tokens": ["safe"], "top_logprobs": [{"safe": NaN}]}}]}',
)
MOODS = ("slow", "killed", "babbling", "500", "malformed")


def last_turn(prompt: str) -> tuple[str, str]:
    """The role that is judged, and what it said last."""
    role = prompt.split("ONLY THE LAST ")[1].split(" ")[0]
    said = prompt.split("<BEGIN CONVERSATION>\n\n")[1].split("<END CONVERSATION>")[0]
    return role, said.rsplit(f"{role}: ", 1)[1].strip()


class GuardServer:
    """`asked` are the (role, text) pairs judged so far; while `held` is clear none is answered."""

    def __init__(self, *unsafe: str) -> None:
        self.unsafe = unsafe
        self.url = ""
        self.reset()
        models = {"object": "list", "data": [{"id": "tiny-guard"}]}
        self.app = Starlette(
            routes=[
                Route("/v1/completions", self.complete, methods=["POST"]),
                Route("/v1/models", lambda _: JSONResponse(models)),
            ]
        )

    def reset(self) -> None:
        self.down: str | None = None
        self.for_roles: tuple[str, ...] = ("User", "Agent")
        self.malformed = MALFORMED[0]
        self.held = threading.Event()
        self.held.set()
        self.asked: list[tuple[str, str]] = []
        self.bodies: list[dict[str, Any]] = []

    async def complete(self, request: Request) -> Response:
        body = json.loads(await request.body())
        self.bodies.append(body)
        role, text = last_turn(body["prompt"])
        self.asked.append((role, text))
        down = self.down if role in self.for_roles else None
        while not self.held.is_set() or down == "slow":
            if await request.is_disconnected():
                return Response(status_code=499)
            await asyncio.sleep(0.005)
        match down:
            case "killed":
                return StreamingResponse(_broken(), media_type="application/json")
            case "500":
                return JSONResponse({"error": "out of order"}, 500)
            case "malformed":
                return Response(self.malformed, media_type="application/json")
            case "babbling":
                return answer("Well", ",", " that", " depends")
        if any(word in text for word in self.unsafe):
            return answer("\n\n", "unsafe", "\n", "S", "9")
        return answer("\n\n", "safe")


async def _broken() -> AsyncIterator[bytes]:
    yield b'{"choices": [{'
    raise ConnectionAbortedError


def answer(*tokens: str) -> Response:
    """With the token that ends it: vLLM lists it."""
    listed = [*tokens, "<|eot_id|>"]
    top = [{one: math.log(0.9), "other": math.log(0.1)} for one in listed]
    logprobs = {
        "tokens": listed,
        "token_logprobs": [math.log(0.9)] * len(listed),
        "top_logprobs": top,
        "text_offset": [0] * len(listed),
    }
    choice = {
        "index": 0,
        "text": "".join(tokens),
        "logprobs": logprobs,
        "finish_reason": "stop",
    }
    return JSONResponse({"id": "x", "object": "text_completion", "choices": [choice]})


@contextmanager
def guard_server(*unsafe: str) -> Iterator[GuardServer]:
    """On a thread of its own and a free port of loopback."""
    guard = GuardServer(*unsafe)
    config = uvicorn.Config(guard.app, port=0, log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    socket = config.bind_socket()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]})
    thread.start()
    guard.url = f"http://127.0.0.1:{socket.getsockname()[1]}/v1"
    try:
        yield guard
    finally:
        guard.held.set()
        guard.down = None
        server.should_exit = True
        server.force_exit = True
        thread.join(10)
        socket.close()
