"""An engine that needs no model: OpenAI's endpoints over a counter, with vLLM's shapes.

A request may say how it wants to be served: `tiny` = {"delay": seconds a token, "crash": true}.
`State` is what tests look at: how many requests are generating, tokens so far, hang-ups seen.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route


@dataclass
class State:
    generating: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    hang_ups: int = 0
    dead: bool = False


def refusal(status: int, message: str, kind: str = "BadRequestError") -> JSONResponse:
    error = {"message": message, "type": kind, "param": None, "code": status}
    return JSONResponse({"error": error}, status)


def words(body: dict[str, Any]) -> list[str]:
    text = body.get("prompt") or body["messages"][-1]["content"]
    prompt = str(text).split() or ["?"]
    count = int(body.get("max_tokens", 8))
    return [f"{prompt[i % len(prompt)]} " for i in range(count)]


class TinyApp:
    """Builds the Starlette application around one State. A token is a word. `fails_on`: what a
    request must not hold, so that a version can be bad."""

    max_model_len = 4096

    def __init__(self, fails_on: str | None = None) -> None:
        self.fails_on = fails_on
        self.state = State()
        post = ["POST"]
        self.app = Starlette(
            routes=[
                Route("/v1/chat/completions", self.generate, methods=post),
                Route("/v1/completions", self.generate, methods=post),
                Route("/v1/models", self.models),
                Route("/version", lambda _: JSONResponse({"version": "tiny"})),
                Route("/tokenize", self.tokenize, methods=post),
                Route("/state", lambda _: JSONResponse(vars(self.state))),
            ],
            exception_handlers={Exception: self.failed},
        )

    async def failed(self, request: Request, error: Exception) -> Response:
        return refusal(500, str(error), "InternalServerError")

    async def models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": "tiny", "object": "model"}]})

    async def tokenize(self, request: Request) -> Response:
        body = await request.json()
        said = [body["prompt"]] if "prompt" in body else [m["content"] for m in body["messages"]]
        count = len(" ".join(map(str, said)).split())
        return JSONResponse(
            {"count": count, "max_model_len": self.max_model_len, "tokens": list(range(count))}
        )

    async def generate(self, request: Request) -> Response:
        try:
            body = json.loads(await request.body())
        except ValueError as error:
            return refusal(400, f"[{{'type': 'json_invalid', 'msg': '{error}'}}]")
        chat = request.url.path.endswith("chat/completions")
        if not isinstance(body, dict) or not (body.get("messages") if chat else "prompt" in body):
            return refusal(400, "messages: Field required" if chat else "prompt: Field required")
        if int(body.get("max_tokens", 8)) > 4096:
            return refusal(400, "max_tokens is too large")
        failing = self.fails_on is not None and self.fails_on in json.dumps(body)
        if failing or body.get("tiny", {}).get("crash"):
            raise RuntimeError("the tiny engine was asked to fail")
        if body.get("stream"):
            return StreamingResponse(self.stream(body, chat), media_type="text/event-stream")
        return await self.whole(request, body, chat)

    async def tokens(self, body: dict[str, Any]) -> AsyncIterator[str]:
        delay = float(body.get("tiny", {}).get("delay", 0))
        self.state.generating += 1
        self.state.tokens_in += 1
        try:
            for number, word in enumerate(words(body)):
                if number == body.get("tiny", {}).get("crash_after"):
                    raise RuntimeError("the tiny engine was asked to fail in mid-answer")
                if delay:
                    await asyncio.sleep(delay)
                self.state.tokens_out += 1
                yield word
        except (asyncio.CancelledError, GeneratorExit):
            self.state.hang_ups += 1
            raise
        finally:
            self.state.generating -= 1

    async def whole(self, request: Request, body: dict[str, Any], chat: bool) -> Response:
        async def gather() -> str:
            return "".join([word async for word in self.tokens(body)])

        async def gone() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass

        work, leave = asyncio.create_task(gather()), asyncio.create_task(gone())
        await asyncio.wait({work, leave}, return_when=asyncio.FIRST_COMPLETED)
        leave.cancel()
        if not work.done():
            work.cancel()
            return Response(status_code=499)
        text = work.result()
        choice: dict[str, Any] = {"index": 0, "finish_reason": "length"}
        choice |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        usage = {"prompt_tokens": 1, "completion_tokens": len(text.split()), "total_tokens": 1}
        kind = "chat.completion" if chat else "text_completion"
        return JSONResponse(
            {"id": "tiny", "object": kind, "created": int(time.time()), "model": "tiny",
             "choices": [choice], "usage": usage}
        )  # fmt: skip

    async def stream(self, body: dict[str, Any], chat: bool) -> AsyncIterator[bytes]:
        kind = "chat.completion.chunk" if chat else "text_completion"
        base = {"id": "tiny", "object": kind, "created": int(time.time()), "model": "tiny"}
        async for word in self.tokens(body):
            choice: dict[str, Any] = {"index": 0, "finish_reason": None}
            choice |= {"delta": {"content": word}} if chat else {"text": word}
            yield b"data: " + json.dumps(base | {"choices": [choice]}).encode() + b"\n\n"
        yield b"data: [DONE]\n\n"
