"""What the guard reads of an answer, and what of it may reach a client.

A choice is rebuilt from the parts known here; anything else in it (token ids, prompt tokens,
whatever a newer engine adds) is left out. Each part that carries text is a channel, and the guard
reads all of them: the content, what a reasoning model thought, the calls of tools, and the tokens
of log probabilities where they say anything else than the content.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tslc_handlers.messages import JSON

CONTENT = "content"
LOGPROBS = "logprobs"
_SAID = ("content", "reasoning", "reasoning_content", "refusal")
_TOKEN_LISTS = ("tokens", "token_logprobs", "text_offset")


class Said:
    """The text of one choice so far, by channel; `size` counts its characters."""

    def __init__(self) -> None:
        self._channels: dict[str, str] = {}
        self._token_bytes = b""
        self.size = 0

    def take(self, choice: Mapping[str, Any]) -> None:
        """Add what a clean choice (a chunk's or a whole answer's) says."""
        if isinstance(choice.get("text"), str):
            self._add(CONTENT, choice["text"])
        said = choice.get("delta") or choice.get("message") or {}
        for name in _SAID:
            if isinstance(said.get(name), str):
                self._add(name, said[name])
        for call in said.get("tool_calls") or ():
            function = call.get("function") or {}
            for name in ("name", "arguments"):
                if isinstance(function.get(name), str):
                    self._add(f"tool {call.get('index', 0)} {name}", function[name])
        if isinstance(choice.get("stop_reason"), str):
            self._add("stop", choice["stop_reason"])
        self._tokens(choice.get(LOGPROBS) or {})

    def _tokens(self, logprobs: Mapping[str, Any]) -> None:
        for token in logprobs.get("tokens") or ():
            self._add(LOGPROBS, str(token))
        for entry in logprobs.get("content") or ():
            raw = entry.get("bytes")
            if not isinstance(raw, list):
                raw = str(entry.get("token", "")).encode(errors="replace")
            self._token_bytes += bytes(raw)
            self.size += len(bytes(raw))
            self._channels[LOGPROBS] = self._token_bytes.decode(errors="replace")

    def _add(self, channel: str, text: str) -> None:
        self._channels[channel] = self._channels.get(channel, "") + text
        self.size += len(text)

    @property
    def text(self) -> str:
        """What the guard reads: a channel that only repeats the content is read once."""
        content = self._channels.get(CONTENT, "")
        rest = [
            text
            for channel, text in self._channels.items()
            if channel != CONTENT and not (channel == LOGPROBS and text == content)
        ]
        return "\n".join(part for part in (content, *rest) if part)


def clean_choice(choice: Mapping[str, Any]) -> JSON:
    """The choice with the parts known here and no others."""
    kept: JSON = {"index": choice.get("index", 0)}
    if "text" in choice:
        kept["text"] = _text(choice["text"])
    for key in ("delta", "message"):
        if isinstance(choice.get(key), dict):
            kept[key] = _clean_message(choice[key])
    logprobs = choice.get(LOGPROBS)
    kept[LOGPROBS] = _clean_logprobs(logprobs) if isinstance(logprobs, dict) else None
    kept["finish_reason"] = choice.get("finish_reason")
    stop = choice.get("stop_reason")
    if isinstance(stop, str | int):
        kept["stop_reason"] = stop
    return kept


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _clean_message(message: Mapping[str, Any]) -> JSON:
    kept: JSON = {}
    if isinstance(message.get("role"), str):
        kept["role"] = "assistant"
    for name in _SAID:
        if name in message:
            value = message[name]
            kept[name] = value if isinstance(value, str) else None
    if isinstance(message.get("tool_calls"), list):
        kept["tool_calls"] = [_clean_call(call) for call in message["tool_calls"]]
    return kept


def _clean_call(call: Mapping[str, Any]) -> JSON:
    kept: JSON = {key: call[key] for key in ("id", "index", "type") if key in call}
    function = call.get("function") or {}
    kept["function"] = {
        key: function[key] for key in ("name", "arguments") if isinstance(function.get(key), str)
    }
    return kept


def _clean_logprobs(logprobs: Mapping[str, Any]) -> JSON:
    """Of the tokens given, not of others at their place."""
    if "content" in logprobs:
        entries = logprobs.get("content") or ()
        keys = ("token", "logprob", "bytes")
        return {
            "content": [
                {**{key: entry.get(key) for key in keys}, "top_logprobs": []} for entry in entries
            ]
        }
    return {key: logprobs[key] for key in _TOKEN_LISTS if key in logprobs} | {"top_logprobs": None}


def estimated_tokens(choice: Mapping[str, Any], before: int, after: int) -> int:
    """Tokens in a chunk of a stream: one at least where it says anything, four characters each
    (an estimate: engines don't tell)."""
    return max(1, (after - before) // 4) if after > before else 0


def refused_choice(chat: bool, index: int, refusal: str) -> JSON:
    """What stands in a choice's place."""
    said: JSON = (
        {"message": {"role": "assistant", "content": refusal, "refusal": refusal}}
        if chat
        else {"text": refusal}
    )
    return {"index": index, **said, "logprobs": None, "finish_reason": "content_filter"}


def cut_choice(chat: bool, index: int) -> JSON:
    """The chunk that ends a choice of a stream."""
    said: JSON = {"delta": {}} if chat else {"text": ""}
    return {"index": index, **said, "logprobs": None, "finish_reason": "content_filter"}
