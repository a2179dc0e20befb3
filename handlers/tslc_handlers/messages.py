"""What hooks receive and return, and the one shape every error leaves in: OpenAI's."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

JSON = dict[str, Any]


@dataclass
class Request:
    """A request as a hook sees it: the endpoint, OpenAI's JSON body, and its headers.

    `headers` have lower-case names. A hook changes `body` in place or returns another Request; of
    what it returns only the body is used.
    """

    path: str
    body: JSON
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Response:
    """A whole (not streamed) response. `body` is what OpenAI's client would decode."""

    body: JSON
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class RequestContext:
    """What the three hooks of one request share.

    `door` is "bridge" or "direct"; `state` is for the hooks to hand each other values.

    `gate` may be set by `preprocess`: the engine begins to answer, and nothing of that is released
    before the gate is done. If it gives a Response, or raises, that is the answer, and the
    generation stops.
    """

    model: str
    version: str
    request_id: str
    door: str
    state: dict[str, Any] = field(default_factory=dict)
    gate: Awaitable[Response | None] | None = None


class HandlerError(Exception):
    """Raised by a hook to answer this request, and only this one, with an error.

    `status` is the HTTP status (400 to 599), `message` is shown to the client.
    """

    def __init__(self, status: int, message: str, *, type: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type


def error_body(status: int, message: str, *, type: str | None = None) -> JSON:
    """OpenAI's error object, with the field names and the `code` vLLM uses."""
    kind = type or _ERROR_TYPES.get(status) or phrase_of(status).replace(" ", "")
    return {"error": {"message": message, "type": kind, "param": None, "code": status}}


_ERROR_TYPES = {
    400: "BadRequestError",
    404: "NotFoundError",
    500: "InternalServerError",
    503: "ServiceUnavailableError",
}


def phrase_of(status: int) -> str:
    """HTTP's word for a status; "Error" for one that has none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def encode(body: Any) -> bytes:
    """JSON in ASCII: half of a surrogate pair, which streams may cut out, has no UTF-8."""
    return json.dumps(body, separators=(",", ":")).encode()


def as_stream(path: str, body: JSON) -> Iterator[JSON]:
    """The chunks a client that asked for a stream gets for a whole completion `body`.

    Chat completions become a delta with role and content and a closing one with the finish
    reason, for each choice; text completions one chunk a choice.
    """
    base: JSON = {key: body[key] for key in ("id", "created", "model") if key in body}
    chat = path.endswith("/chat/completions")
    base["object"] = "chat.completion.chunk" if chat else "text_completion"
    for choice in body.get("choices", ()):
        index, reason = choice.get("index", 0), choice.get("finish_reason", "stop")
        if not chat:
            text = choice.get("text", "")
            yield base | {"choices": [{"index": index, "text": text, "finish_reason": reason}]}
            continue
        delta = choice.get("message", {})
        yield base | {"choices": [{"index": index, "delta": delta, "finish_reason": None}]}
        yield base | {"choices": [{"index": index, "delta": {}, "finish_reason": reason}]}
