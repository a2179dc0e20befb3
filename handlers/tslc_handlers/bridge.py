"""The bridge: one request of TorchServe's worker protocol, answered by the ASGI application.

TorchServe 0.12.0's frontend is archived, so the care it needs is taken here (docs/torchserve.md
lists each defect and what is done about it):

- A success leaves in two messages, the body as an intermediate one and an empty final one. The
  frontend forgets a request only on `ts_stream_next: false`, and forgetting it while it is still
  being handed over kills the worker.
- An error leaves whole in one message without that header (a stream with such a status is cut
  after its head), then the same empty final message.
- A large body leaves in pieces: the frontend drops a worker whose message is over its limit.
- The status goes on the prediction, never on the message: a message whose code is not 200 is sent
  as an error to every request in flight. So nothing may be raised out of `answer`.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tslc_handlers.asgi import (
    ASGIApp,
    Message,
    Receive,
    Scope,
    headers_of,
    http_scope,
    replay,
)
from tslc_handlers.endpoints import GET, KNOWN
from tslc_handlers.messages import encode, error_body, phrase_of

logger = logging.getLogger(__name__)

# A message larger than the frontend's max_response_size would end the worker's connection.
_PIECE = 1 << 20

# Between client and TorchServe, or TorchServe's own; not for the application.
_NOT_PASSED = frozenset(
    [
        *("authorization", "connection", "content-length", "expect", "host", "transfer-encoding"),
        *("explain", "url_path"),
    ]
)
_NOT_RETURNED = frozenset(["connection", "content-length", "content-type", "transfer-encoding"])


class TorchServeContext(Protocol):
    """What is used of ts.context.Context (one request's own copy)."""

    request_ids: dict[int, str]
    cl_socket: Any
    metrics: Any

    def get_all_request_header(self, idx: int) -> Mapping[str, Any]: ...
    def set_response_content_type(self, idx: int, value: str) -> None: ...
    def set_response_header(self, idx: int, key: str, value: str) -> None: ...
    def set_response_status(self, code: int, phrase: str, idx: int) -> None: ...


def scope_and_body(data: Mapping[str, Any], headers: Mapping[str, Any]) -> tuple[Scope, bytes]:
    """The HTTP request behind a TorchServe request.

    TorchServe keeps the method and the query string to itself; the method follows from the path.
    """
    path = "/" + str(headers.get("url_path", "")).strip("/")
    passed = {
        name.lower(): value
        for name, value in headers.items()
        if isinstance(value, str) and name.lower() not in _NOT_PASSED
    }
    body = data.get("body", data.get("data", b""))
    if not isinstance(body, (bytes, bytearray)):  # decoded by TorchServe's worker
        body = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    passed.setdefault("content-type", "application/json")
    method = "GET" if KNOWN.get(path) is GET else "POST"
    return http_scope(method, path, passed, len(body)), bytes(body)


class Responder:
    """Turns one ASGI response into TorchServe's messages."""

    def __init__(self, context: TorchServeContext) -> None:
        self.first_byte: float | None = None
        self._context = context
        self._status = 500
        self._error = bytearray()
        self._started = False
        self._sent = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start(message)
            return
        body = message.get("body", b"")
        if self._status >= 400:
            self._error += body
            return
        for start in range(0, len(body), _PIECE):
            self._emit(body[start : start + _PIECE], stream=True)

    def _start(self, head: Message) -> None:
        self._started = True
        self._status = head["status"]
        headers = headers_of(head)
        self._context.set_response_status(self._status, phrase_of(self._status), 0)
        self._context.set_response_content_type(0, headers.get("content-type", "text/plain"))
        for name, value in headers.items():
            if name not in _NOT_RETURNED:
                self._context.set_response_header(0, name, value)

    def _emit(self, body: bytes, *, stream: bool) -> None:
        from ts.protocol.otf_message_handler import create_predict_response

        context = self._context
        self._sent = True
        if stream:
            self.first_byte = self.first_byte or time.perf_counter()
        context.cl_socket.sendall(
            create_predict_response([body], context.request_ids, "", 200, context, stream)
        )

    def fail(self, message: str) -> None:
        """Answer with a 500, if nothing has been sent yet."""
        if self._sent:
            return
        self._start({"status": 500, "headers": [(b"content-type", b"application/json")]})
        self._error = bytearray(encode(error_body(500, message)))

    def finish(self) -> list[bytes]:
        """What `handle` returns: the body of the final, empty message."""
        if not self._started:
            self.fail("the handler gave no answer")
        if self._status >= 400:
            self._emit(bytes(self._error), stream=False)
        elif not self._sent:
            self._emit(b"", stream=True)
        self._context.set_response_header(0, "ts_stream_next", "false")
        return [b""]


@dataclass(frozen=True)
class Answered:
    """`final` is what `handle` returns; `first_byte` a time of time.perf_counter, or None."""

    final: list[bytes]
    first_byte: float | None


async def answer(
    app: ASGIApp, data: list[Mapping[str, Any]], context: TorchServeContext, never: Receive
) -> Answered:
    """Answer TorchServe's request. Never raises; `never` is a receive that waits for ever,
    because the frontend does not tell a worker that a client left."""
    responder = Responder(context)
    try:
        scope, body = scope_and_body(data[0], context.get_all_request_header(0))
        await app(scope, replay(body, never), responder.send)
    except Exception:
        logger.exception("request %s failed", context.request_ids)
        responder.fail("internal error")
    return Answered(responder.finish(), responder.first_byte)
