"""An answer's head is sent with the first piece of its body."""

from __future__ import annotations

import pytest

from tslc_handlers.asgi import Message, head_with_body

HEAD = {"type": "http.response.start", "status": 200, "headers": []}
ERROR = {"type": "http.response.start", "status": 500, "headers": []}


def piece(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


FIRST, LAST, NOTHING, END = piece(b"a"), piece(b"b", more=False), piece(b""), piece(b"", more=False)


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        ((HEAD,), ()),
        ((HEAD, NOTHING), ()),
        ((HEAD, NOTHING, FIRST), (HEAD, FIRST)),
        ((HEAD, FIRST, NOTHING, LAST), (HEAD, FIRST, NOTHING, LAST)),
        ((HEAD, LAST), (HEAD, LAST)),
        ((HEAD, END), (HEAD, END)),
        ((HEAD, ERROR, LAST), (ERROR, LAST)),
        ((HEAD, {"type": "http.response.body"}), (HEAD, {"type": "http.response.body"})),
        (({"type": "websocket.close"},), ({"type": "websocket.close"},)),
    ],
)
async def test_what_is_sent_of_what_is_said(
    said: tuple[Message, ...], sent: tuple[Message, ...]
) -> None:
    passed: list[Message] = []

    async def send(message: Message) -> None:
        passed.append(message)

    joined = head_with_body(send)
    for message in said:
        await joined(message)
    assert passed == list(sent)
