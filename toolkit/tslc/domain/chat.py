"""The OpenAI chat protocol as `tslc chat` speaks it: a request, and the pieces of an answer."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

CHAT_PATH = "/v1/chat/completions"


@dataclass(frozen=True)
class Question:
    prompt: str
    system: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None

    def request(self, model: str, *, stream: bool) -> dict[str, object]:
        """The body to send; what was not asked for is left to the server's defaults."""
        messages = [{"role": "user", "content": self.prompt}]
        if self.system is not None:
            messages.insert(0, {"role": "system", "content": self.system})
        body: dict[str, object] = {"model": model, "messages": messages, "stream": stream}
        if self.max_tokens is not None:
            body["max_tokens"] = self.max_tokens
        if self.temperature is not None:
            body["temperature"] = self.temperature
        if stream:
            body["stream_options"] = {"include_usage": True}
        return body


@dataclass(frozen=True)
class Piece:
    """A piece of an answer: text, and at the end why it stopped and what it cost in tokens.

    A stream that ends without a `done` piece was cut off.
    """

    text: str = ""
    finish_reason: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    error: str | None = None
    done: bool = False


def read_event(line: str) -> Piece | None:
    """A line of a server-sent stream; None for blank lines and comments."""
    if not line.startswith("data:"):
        return None
    payload = line.removeprefix("data:").strip()
    return Piece(done=True) if payload == "[DONE]" else _piece(payload, "delta")


def read_answer(body: str) -> Piece:
    """A whole answer."""
    return replace(_piece(body, "message"), done=True)


def error_text(body: str) -> str:
    """What an error body says, vLLM's or TorchServe's or anything else's."""
    try:
        document = json.loads(body)
    except ValueError:
        return body.strip()[:500] or "an empty body"
    if isinstance(document, dict):
        error = document.get("error", document)
        if isinstance(error, dict) and isinstance(error.get("message"), str):
            return str(error["message"])
        if isinstance(error, str):
            return error
    return body.strip()[:500]


def _piece(payload: str, part: str) -> Piece:
    try:
        document = json.loads(payload)
    except ValueError:
        return Piece(error=f"not JSON: {payload[:200]}")
    if not isinstance(document, dict):
        return Piece(error=f"not an answer: {payload[:200]}")
    if "error" in document:
        return Piece(error=error_text(payload))
    usage = document.get("usage") or {}
    choices = document.get("choices") or [{}]
    choice = choices[0]
    return Piece(
        text=(choice.get(part) or {}).get("content") or "",
        finish_reason=choice.get("finish_reason"),
        tokens_in=usage.get("prompt_tokens"),
        tokens_out=usage.get("completion_tokens"),
    )
