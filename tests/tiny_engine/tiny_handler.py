"""The handler of archives whose engine is the tiny one. Only the engine is not real.

`handler.environment` may hold TINY_FAIL_LOAD (the load raises), TINY_FAILS_ON (a word in requests
that fail), TINY_SUBPROCESS (a child process stands in for the engine's; its death is the engine's
death).
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tiny_app import TinyApp

from tslc_handlers import HandlerError, Request, RequestContext, Response, VLLMHandler
from tslc_handlers.engine import Engine


class TinyHandler(VLLMHandler):
    """Hooks misbehave when a request's `tiny.hook` says so."""

    @contextlib.asynccontextmanager
    async def open_engine(self, archive: Path) -> AsyncIterator[Engine]:
        environment = self.config.environment
        if "TINY_FAIL_LOAD" in environment:
            raise RuntimeError(environment["TINY_FAIL_LOAD"])
        tiny = TinyApp(environment.get("TINY_FAILS_ON"))
        self.tiny = tiny.state
        child = None
        if "TINY_SUBPROCESS" in environment:
            code = "import time; time.sleep(3600)  # tiny engine"
            child = subprocess.Popen([sys.executable, "-c", code], env=dict(os.environ))
        yield Engine(
            app=tiny.app,
            is_dead=lambda: tiny.state.dead or (child is not None and child.poll() is not None),
            tokens=lambda: (tiny.state.tokens_in, tiny.state.tokens_out),
            probe=("/v1/completions", {"prompt": "ready", "max_tokens": 1}),
        )

    async def preprocess(self, request: Request, context: RequestContext) -> Request | Response:
        hook = request.body.get("tiny", {}).get("hook")
        if hook == "raise":
            raise ValueError("preprocess was asked to raise")
        if hook == "refuse":
            raise HandlerError(451, "not for this reason", type="Refused")
        if hook == "odd-status":
            raise HandlerError(499, "a status without a name")
        if hook == "nothing":
            return None  # type: ignore[return-value]
        if hook == "half-emoji":
            request.body["user"] = "\ud83d"
        if hook == "early":
            message = {"role": "assistant", "content": "an early answer"}
            return Response({"id": "early", "choices": [{"index": 0, "message": message}]})
        context.state["hook"] = hook
        return request

    async def postprocess(self, response: Response, context: RequestContext) -> Response:
        if context.state["hook"] == "raise-after":
            raise ValueError("postprocess was asked to raise")
        response.body["served_by"] = f"{context.model}@{context.version}"
        return response

    async def postprocess_stream(
        self, events: AsyncIterator[dict[str, Any]], context: RequestContext
    ) -> AsyncIterator[dict[str, Any]]:
        count = 0
        async for event in events:
            count += 1
            if count == 3 and context.state["hook"] == "raise-after":
                raise ValueError("postprocess_stream was asked to raise")
            if count == 3 and context.state["hook"] == "stop":
                return
            yield event
