"""The hooks around the engine's application: what runs before a request and after its answer.

A handler that overrides no hook pays nothing for them: its requests go to vLLM's application as
they came. This module decides which requests hooks see (JSON objects POSTed to an allowed endpoint)
and keeps a hook's mistake to the one request it happened in.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable
from typing import Any, Protocol, TypeVar

from tslc_handlers import metrics
from tslc_handlers.asgi import (
    ASGIApp,
    Message,
    Receive,
    Scope,
    Send,
    headers_of,
    read_body,
    replay,
    send_error,
    send_json,
)
from tslc_handlers.early import body_of, only_refusals, send_early, stream_head
from tslc_handlers.messages import (
    JSON,
    HandlerError,
    Request,
    RequestContext,
    Response,
    encode,
    error_body,
)
from tslc_handlers.sse import DONE, EventDecoder, encode_event

logger = logging.getLogger(__name__)

_Given = TypeVar("_Given", Request, Response)


# The streams whose chunks hooks know; others (Anthropic's, Responses') have named events.
_CHUNKED = ("/v1/chat/completions", "/v1/completions")


class Hooks(Protocol):
    """A handler's hooks; `overridden` names those that are not the base class's."""

    overridden: frozenset[str]

    async def preprocess(self, request: Request, context: RequestContext) -> Request | Response: ...

    async def postprocess(self, response: Response, context: RequestContext) -> Response: ...

    def postprocess_stream(
        self, events: AsyncIterator[JSON], context: RequestContext
    ) -> AsyncIterator[JSON]: ...


class _HookFailed(Exception):
    """A hook raised; what the client is told."""

    def __init__(self, hook: str, cause: Exception, context: RequestContext) -> None:
        super().__init__(hook)
        if isinstance(cause, HandlerError):
            self.status, self.message, self.type = cause.status, cause.message, cause.type
            return
        metrics.HOOK_ERRORS.labels(hook).inc()
        logger.error("%s failed, request %s", hook, context.request_id, exc_info=cause)
        self.status, self.type = 500, None
        self.message = f"the handler's {hook} failed; request id {context.request_id}"


async def run_hooked(
    hooks: Hooks,
    app: ASGIApp,
    context: RequestContext,
    scope: Scope,
    receive: Receive,
    send: Send,
    limit: int,
) -> None:
    """Answer one request: preprocess, the engine's application, postprocess."""
    body = await read_body(receive, limit)
    if body is None:
        return
    try:
        payload = json.loads(body)
    except ValueError:
        payload = None
    if not isinstance(payload, dict):  # vLLM words this refusal
        if scope["path"] in _CHUNKED:
            send = only_refusals(send)
        await app(scope, replay(body, receive), send)
        return
    try:
        if "preprocess" in hooks.overridden:
            request = Request(scope["path"], payload, headers_of(scope))
            outcome = await _guarded("preprocess", hooks.preprocess, request, context)
            if isinstance(outcome, Response):
                await send_early(outcome, scope["path"], payload.get("stream") is True, send)
                return
            body = encode(outcome.body)
            scope = _with_length(scope, len(body))
        receive = replay(body, receive)
        if hooks.overridden == {"preprocess"} and context.gate is None:
            await app(scope, receive, send)
        else:
            stream = payload.get("stream") is True
            await _Inner(app, scope, receive).answer(hooks, context, stream, send)
    except _HookFailed as failed:
        await send_error(send, failed.status, failed.message, type=failed.type)
    finally:
        if isinstance(context.gate, asyncio.Future):
            context.gate.cancel()
            await asyncio.gather(context.gate, return_exceptions=True)


async def _guarded(
    hook: str, call: Any, given: _Given, context: RequestContext
) -> _Given | Response:
    """What the hook returns, which has to be of the kind it was given, or a Response."""
    try:
        returned = await call(given, context)
        if not isinstance(returned, type(given) | Response):
            raise TypeError(f"{hook} returned {type(returned).__name__}")
        return returned
    except Exception as error:
        raise _HookFailed(hook, error, context) from error


async def _passed(gate: Awaitable[Response | None], context: RequestContext) -> Response | None:
    """What the gate gives: None lets the engine's answer through."""
    try:
        return await gate
    except Exception as error:
        raise _HookFailed("preprocess", error, context) from error


def _with_length(scope: Scope, length: int) -> Scope:
    kept = [(k, v) for k, v in scope["headers"] if k.lower() != b"content-length"]
    return {**scope, "headers": [*kept, (b"content-length", str(length).encode())]}


class _Inner:
    """The engine's application on its own task, read as a head and an iterator of chunks."""

    def __init__(self, app: ASGIApp, scope: Scope, receive: Receive) -> None:
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()  # one answer bounds it
        self._head: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._complete = False
        self._ended = False
        self._path: str = scope["path"]
        self._decoder = EventDecoder()
        self._task = asyncio.create_task(self._run(app, scope, receive))

    async def _run(self, app: ASGIApp, scope: Scope, receive: Receive) -> None:
        try:
            await app(scope, receive, self._take)
        except Exception:
            if not self._complete:
                raise
            logger.exception("%s failed", scope["path"])  # and its 500 is worded already
        finally:
            if not self._head.done():
                self._head.cancel()
            self._queue.put_nowait(None)

    async def _take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._head.set_result(message)
            return
        self._complete = not message.get("more_body", False)
        if message.get("body"):
            self._queue.put_nowait(message["body"])

    async def _chunks(self) -> AsyncIterator[bytes]:
        while (chunk := await self._queue.get()) is not None:
            yield chunk
        await self._task  # raises what the application raised

    async def answer(self, hooks: Hooks, context: RequestContext, stream: bool, send: Send) -> None:
        """`stream`: whether the client asked for one."""
        try:
            if context.gate is not None:
                instead = await _passed(context.gate, context)
                if instead is not None:
                    await send_early(instead, self._path, stream, send)
                    return
            either: set[asyncio.Future[Any]] = {self._head, self._task}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not self._head.done() or self._head.cancelled():
                await self._task  # raises what the application raised
                return
            head = self._head.result()
            kind = headers_of(head).get("content-type", "")
            if head["status"] >= 400:
                await self._pass_on(head, send)
            elif kind.startswith("text/event-stream") and self._path in _CHUNKED:
                if "postprocess_stream" in hooks.overridden:
                    await self._stream(hooks, context, head, send)
                else:
                    await self._pass_on(head, send)
            elif "postprocess" not in hooks.overridden:
                await self._pass_on(head, send)
            elif kind.startswith("application/json"):
                await self._whole(hooks, context, head, send)
            elif self._path in _CHUNKED:
                raise ValueError(f"the engine answered {kind!r}, which no hook can be shown")
            else:
                await self._pass_on(head, send)
        finally:
            self._task.cancel()  # a hook that stopped early stops the generation
            await asyncio.gather(self._task, return_exceptions=True)

    async def _pass_on(self, head: Message, send: Send) -> None:
        await send(head)
        async for chunk in self._chunks():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _whole(
        self, hooks: Hooks, context: RequestContext, head: Message, send: Send
    ) -> None:
        body = json.loads(b"".join([chunk async for chunk in self._chunks()]))
        if not isinstance(body, dict):
            if self._path in _CHUNKED:
                raise ValueError("the engine answered what no hook can be shown")
            await send_json(send, head["status"], body)
            return
        response = Response(body, head["status"], _kept(head))
        response = await _guarded("postprocess", hooks.postprocess, response, context)
        await send_json(send, response.status, response.body, response.headers)

    async def _stream(
        self, hooks: Hooks, context: RequestContext, head: Message, send: Send
    ) -> None:
        """The head goes out with the first event: until then an error is one with a status."""
        events = hooks.postprocess_stream(self._events(), context)
        whole, begun = True, False
        try:
            async for event in events:
                if not begun:
                    await send(stream_head(_kept(head)))
                    begun = True
                await send(body_of(encode_event(event)))
            # The engine's stream broke off, unless the hook ended it.
            whole = self._decoder.done or not self._ended
        except Exception as error:
            if self._task.done() and self._task.exception() is error:
                raise  # the engine's, not the hook's
            failed = _HookFailed("postprocess_stream", error, context)
            if not begun:
                raise failed from error
            told = error_body(failed.status, failed.message, type=failed.type)
            await send(body_of(encode_event(told)))
        finally:
            close = getattr(events, "aclose", None)
            if close is not None:
                await close()
        if not begun:
            await send(stream_head(_kept(head)))
        end = DONE if whole else b""
        await send({"type": "http.response.body", "body": end, "more_body": False})

    async def _events(self) -> AsyncIterator[JSON]:
        async for chunk in self._chunks():
            for event in self._decoder.feed(chunk):
                yield event
        self._ended = True


def _kept(head: Message) -> dict[str, str]:
    """The engine's response headers that stay true when the body was rewritten."""
    dropped = {"content-length", "content-type", "transfer-encoding"}
    return {k: v for k, v in headers_of(head).items() if k not in dropped}
