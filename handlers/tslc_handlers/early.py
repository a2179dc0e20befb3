"""Answers that do not come from the engine, and the ones of the engine's that may not pass."""

from __future__ import annotations

from tslc_handlers.asgi import Message, Send, send_json
from tslc_handlers.messages import Response, as_stream
from tslc_handlers.sse import DONE, encode_event

# Fields of a whole answer that are not those of its chunks, or are there already.
_OF_WHOLE = frozenset(("id", "object", "created", "model", "choices", "usage"))


async def send_early(response: Response, path: str, stream: bool, send: Send) -> None:
    if not (stream and response.status < 400):
        await send_json(send, response.status, response.body, response.headers)
        return
    await send(stream_head(response.headers))
    more = {k: v for k, v in response.body.items() if k not in _OF_WHOLE}
    for event in as_stream(path, response.body):
        await send(body_of(encode_event(event | more)))
    await send({"type": "http.response.body", "body": DONE, "more_body": False})


def stream_head(headers: dict[str, str]) -> Message:
    fields = {"content-type": "text/event-stream; charset=utf-8", **headers}
    raw = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in fields.items()]
    return {"type": "http.response.start", "status": 200, "headers": raw}


def body_of(data: bytes) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": True}


def only_refusals(send: Send) -> Send:
    """For a body that hooks can't be shown: an answer to it would have passed them by.

    Raises ValueError for one.
    """

    async def refusing(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] < 400:
            raise ValueError("the engine answered a body that is no JSON object")
        await send(message)

    return refusing
