"""The few ASGI shapes this package speaks, and how it answers by itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from tslc_handlers.messages import encode, error_body

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


def headers_of(scope: Scope) -> dict[str, str]:
    """The request's headers, names in lower case, the last of a name wins."""
    return {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}


async def send_json(
    send: Send, status: int, body: Any, headers: Mapping[str, str] | None = None
) -> None:
    data = encode(body)
    fields = {"content-type": "application/json", **(headers or {}), "content-length": len(data)}
    raw = [(str(k).encode("latin-1"), str(v).encode("latin-1")) for k, v in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": data, "more_body": False})


async def send_error(
    send: Send, status: int, message: str, *, type: str | None = None, allow: str | None = None
) -> None:
    await send_json(
        send, status, error_body(status, message, type=type), {"allow": allow} if allow else None
    )


def head_with_body(send: Send) -> Send:
    """A `send` that keeps an answer's head until the first piece of its body.

    A router may ask another worker as long as it has no head: so a stream that has said nothing
    yet outlives the death of its worker, and no answer is torn between its head and its body. A
    second head replaces one that is kept: what fails before its first piece is an error with its
    status.
    """
    head: Message | None = None

    async def joined(message: Message) -> None:
        nonlocal head
        if message["type"] == "http.response.start":
            head = message
            return
        if head is not None:
            if message.get("more_body") and not message.get("body"):
                return
            await send(head)
            head = None
        await send(message)

    return joined


async def read_body(receive: Receive, limit: int) -> bytes | None:
    """The whole body, or None when the client left. Raises BodyTooLarge past `limit` bytes."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise BodyTooLargeError(limit)
        if not message.get("more_body", False):
            return b"".join(parts)


class BodyTooLargeError(Exception):
    def __init__(self, limit: int) -> None:
        super().__init__(f"the request's body is larger than {limit} bytes")


def replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives `body` once and then what the real one gives (a disconnect)."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def call(app: ASGIApp, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    """One request to `app` from inside the process: its status and whole body."""
    import asyncio

    never = asyncio.Event()

    async def wait_for_ever() -> Message:
        await never.wait()
        return {"type": "http.disconnect"}

    status = 0
    parts: list[bytes] = []

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            parts.append(message.get("body", b""))

    await app(
        http_scope(method, path, {"content-type": "application/json"}, len(body)),
        replay(body, wait_for_ever),
        send,
    )
    return status, b"".join(parts)


def http_scope(method: str, path: str, headers: Mapping[str, str], length: int) -> Scope:
    fields = {**headers, "content-length": str(length)}
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in fields.items()],
        "client": None,
        "server": None,
        "state": {},
    }
