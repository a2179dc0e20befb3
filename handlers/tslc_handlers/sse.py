"""Server-sent events, as OpenAI's streams use them: `data: <json>` and a closing `data: [DONE]`.

Pure: bytes in any cut in, whole events out. Only `data` fields mean anything here; comments (vLLM's
keep-alives) are dropped.
"""

from __future__ import annotations

import json

from tslc_handlers.messages import JSON, encode

DONE = b"data: [DONE]\n\n"


def encode_event(event: JSON) -> bytes:
    return b"data: " + encode(event) + b"\n\n"


class EventDecoder:
    """Feed it bytes, get the JSON events completed so far; `done` once `[DONE]` was seen."""

    def __init__(self) -> None:
        self._rest = b""
        self.done = False

    def feed(self, data: bytes) -> list[JSON]:
        *blocks, self._rest = (self._rest + data).replace(b"\r\n", b"\n").split(b"\n\n")
        events = []
        for block in blocks:
            payload = b"\n".join(
                line[5:].removeprefix(b" ") for line in block.split(b"\n") if line[:5] == b"data:"
            )
            if payload == b"[DONE]":
                self.done = True
            elif payload:
                events.append(json.loads(payload))
        return events
