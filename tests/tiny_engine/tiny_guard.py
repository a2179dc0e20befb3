"""The tiny engine with something to say, for handlers with a guard.

`tiny` = {"say": [a text for each choice], "channel": where it is said, "chars": a character a
token, "stop_reason": …, "fail": an error's message, "fail_after": tokens}. Shapes are vLLM's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from tiny_app import TinyApp, refusal

from tslc_handlers import VLLMHandler
from tslc_handlers.engine import Engine

JSON = dict[str, Any]
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


class TellingApp(TinyApp):
    async def generate(self, request: Request) -> Response:
        tiny = json.loads(await request.body()).get("tiny", {})
        if "fail" in tiny and "fail_after" not in tiny:
            return refusal(tiny.get("status", 400), tiny["fail"])
        return await super().generate(request)

    async def tokens(self, body: JSON) -> AsyncIterator[Any]:
        """(choice, token) pairs, the choices in turn."""
        tiny = body.get("tiny", {})
        said = tiny.get("say", ["ready "])
        cut = r"[\s\S]" if tiny.get("chars") else r"\S+\s*|\s+"
        lines = [re.findall(cut, said[i % len(said)]) for i in range(body.get("n") or 1)]
        self.state.generating += 1
        try:
            for number in range(max(map(len, lines))):
                await asyncio.sleep(tiny.get("delay", 0))
                if number == tiny.get("fail_after"):
                    raise ValueError(tiny["fail"])
                self.state.tokens_out += 1
                for index, line in enumerate(lines):
                    if number < len(line):
                        yield index, line[number]
        except (asyncio.CancelledError, GeneratorExit):
            self.state.hang_ups += 1
            raise
        finally:
            self.state.generating -= 1

    async def whole(self, request: Request, body: JSON, chat: bool) -> Response:
        async def gather() -> dict[int, list[str]]:
            lines: dict[int, list[str]] = {}
            async for index, token in self.tokens(body):
                lines.setdefault(index, []).append(token)
            return lines

        async def gone() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass

        work, leave = asyncio.create_task(gather()), asyncio.create_task(gone())
        try:
            await asyncio.wait({work, leave}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leave.cancel()
            if not work.done():
                work.cancel()
        lines = await work
        choices = [
            {**_choice(body, chat, "message", index, "".join(line), line), **_end(body)}
            for index, line in sorted(lines.items())
        ]
        return JSONResponse(
            {"id": "tiny", "object": "x", "created": 1, "model": "tiny", "choices": choices,
             "usage": USAGE, "prompt_logprobs": None}
        )  # fmt: skip

    async def stream(self, body: JSON, chat: bool) -> AsyncIterator[bytes]:
        base = {"id": "tiny", "object": "x", "created": 1, "model": "tiny"}
        seen = set()
        try:
            async for index, token in self.tokens(body):
                seen.add(index)
                choice = _choice(body, chat, "delta", index, token, [token])
                yield _event({**base, "choices": [{**choice, "finish_reason": None}]})
            for index in sorted(seen):
                choice = _choice(body, chat, "delta", index, "", [])
                yield _event({**base, "choices": [{**choice, **_end(body)}]})
            if (body.get("stream_options") or {}).get("include_usage"):
                yield _event({**base, "choices": [], "usage": USAGE})
        except ValueError as error:
            yield _event({"error": {"message": str(error), "type": "BadRequestError", "code": 400}})
        yield b"data: [DONE]\n\n"


def _end(body: JSON) -> JSON:
    return {"finish_reason": "stop", "stop_reason": body["tiny"].get("stop_reason")}


def _event(event: JSON) -> bytes:
    return b"data: " + json.dumps(event).encode() + b"\n\n"


def _choice(body: JSON, chat: bool, key: str, index: int, text: str, tokens: list[str]) -> JSON:
    channel = body["tiny"].get("channel", "content")
    choice: JSON = {"index": index, "token_ids": None}
    if not chat:
        choice["text"] = text
    elif channel == "tool":
        function = {"name": "", "arguments": text}
        choice[key] = {"tool_calls": [{"index": 0, "type": "function", "function": function}]}
    elif channel == "tool name":
        function = {"name": text, "arguments": "{}"}
        choice[key] = {"tool_calls": [{"index": 0, "type": "function", "function": function}]}
    else:
        choice[key] = {channel: text}
    if body.get("logprobs") is not None:
        entries = [{"token": one, "logprob": -1, "bytes": list(one.encode())} for one in tokens]
        listed: JSON = {"tokens": tokens, "token_logprobs": [-1] * len(tokens)}
        choice["logprobs"] = {"content": entries} if chat else listed
    return choice


class TinyEngine(VLLMHandler):
    """To be named after the handler: `class Guarded(GuardVLLMHandler, TinyEngine)`."""

    @contextlib.asynccontextmanager
    async def open_engine(self, archive: Path) -> AsyncIterator[Engine]:
        app = TellingApp()
        self.tiny = app.state
        yield Engine(
            app=app.app,
            is_dead=lambda: app.state.dead,
            tokens=lambda: (app.state.tokens_in, app.state.tokens_out),
            probe=("/v1/completions", {"prompt": "ready", "max_tokens": 1, "tiny": {}}),
        )
