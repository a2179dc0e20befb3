"""What the guard reads of an answer, and what of it may reach a client.

A choice is rebuilt from the parts known here, each of its kind; anything else in it (token ids,
prompt tokens, whatever a newer engine adds) is left out. Each part that carries text is a channel,
and the guard reads all of them: the content, what a reasoning model thought, the calls of tools
with their ids, and the tokens of log probabilities where they say anything else than the content.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tslc_handlers.guard.prompt import joined
from tslc_handlers.messages import JSON

CONTENT = "content"
LOGPROBS = "logprobs"
_TOKENS = "tokens"
_SAID = ("content", "reasoning", "reasoning_content", "refusal")
_REASON = re.compile(r"[a-z_]{1,32}", re.ASCII)


class Said:
    """The text of one choice so far, by channel; `size` counts it, and grows with any text."""

    def __init__(self) -> None:
        self._channels: dict[str, list[str]] = {}
        self._token_bytes = bytearray()
        self.size = 0

    def take(self, choice: Mapping[str, Any]) -> None:
        """Add what a clean choice (a chunk's or a whole answer's) says."""
        self._add(CONTENT, choice.get("text"))
        for said in (choice.get("delta"), choice.get("message")):
            for name in _SAID:
                self._add(name, (said or {}).get(name))
            for place, call in enumerate((said or {}).get("tool_calls") or ()):
                tool = f"tool {call.get('index', place)}"
                self._add(f"{tool} id", call.get("id"))
                for name, text in call["function"].items():
                    self._add(f"{tool} {name}", text)
        self._add("stop", choice.get("stop_reason"))
        logprobs = choice.get(LOGPROBS) or {}
        for token in logprobs.get("tokens") or ():
            self._add(_TOKENS, token)
        for entry in logprobs.get("content") or ():
            self._add(_TOKENS, entry["token"])
            self._token_bytes += bytes(entry["bytes"] or ())
            self.size += len(entry["bytes"] or ())

    def _add(self, channel: str, text: object) -> None:
        if isinstance(text, str) and text:
            self._channels.setdefault(channel, []).append(text)
            self.size += len(text)

    @property
    def text(self) -> str:
        """What the guard reads: tokens that only repeat what is read already are read once."""
        texts = {name: joined("".join(parts)) for name, parts in self._channels.items()}
        content = texts.pop(CONTENT, "")
        tokens = texts.pop(_TOKENS, "")
        raw = self._token_bytes.decode(errors="replace")
        repeated = dict.fromkeys(text for text in (tokens, raw) if text != content)
        return "\n".join(part for part in (content, *texts.values(), *repeated) if part)


def clean_choice(choice: Mapping[str, Any]) -> JSON:
    """The choice with the parts known here and no others."""
    kept: JSON = {"index": _whole(choice.get("index"))}
    if "text" in choice:
        kept["text"] = _text(choice["text"])
    for key in ("delta", "message"):
        if isinstance(choice.get(key), dict):
            kept[key] = _clean_message(choice[key])
    logprobs = choice.get(LOGPROBS)
    kept[LOGPROBS] = _clean_logprobs(logprobs) if isinstance(logprobs, dict) else None
    reason = choice.get("finish_reason")
    if reason is not None and not (isinstance(reason, str) and _REASON.fullmatch(reason)):
        reason = "stop"
    kept["finish_reason"] = reason
    stop = choice.get("stop_reason")
    if isinstance(stop, str | int):
        kept["stop_reason"] = stop
    return kept


def clean_usage(usage: Any) -> JSON | None:
    """Counts, and counts in it by name; None for no usage."""
    if not isinstance(usage, dict):
        return None
    kept: JSON = {}
    for key, value in usage.items():
        if value is None or isinstance(value, int | float):
            kept[key] = value
        elif isinstance(value, dict):
            kept[key] = {k: v for k, v in value.items() if isinstance(v, int | float)}
    return kept


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _clean_message(message: Mapping[str, Any]) -> JSON:
    kept: JSON = {}
    if isinstance(message.get("role"), str):
        kept["role"] = "assistant"
    for name in _SAID:
        if name in message:
            value = message[name]
            kept[name] = value if isinstance(value, str) else None
    if isinstance(message.get("tool_calls"), list):
        calls = message["tool_calls"]
        kept["tool_calls"] = [_clean_call(call) for call in calls if isinstance(call, dict)]
    return kept


def _clean_call(call: Mapping[str, Any]) -> JSON:
    kept: JSON = {}
    if isinstance(call.get("id"), str):
        kept["id"] = call["id"]
    if "index" in call:
        kept["index"] = _whole(call["index"])
    if call.get("type") is not None:
        kept["type"] = "function"
    function = call.get("function")
    function = function if isinstance(function, dict) else {}
    kept["function"] = {
        key: function[key] for key in ("name", "arguments") if isinstance(function.get(key), str)
    }
    return kept


def _clean_logprobs(logprobs: Mapping[str, Any]) -> JSON:
    """Of the tokens given, not of others at their place."""
    if "content" in logprobs:
        return {
            "content": [_entry(one) for one in _list(logprobs["content"]) if isinstance(one, dict)]
        }
    kept: JSON = {"top_logprobs": None}
    if "tokens" in logprobs:
        kept["tokens"] = [_text(one) for one in _list(logprobs["tokens"])]
    if "token_logprobs" in logprobs:
        kept["token_logprobs"] = [_number(one) for one in _list(logprobs["token_logprobs"])]
    if "text_offset" in logprobs:
        kept["text_offset"] = [_whole(one) for one in _list(logprobs["text_offset"])]
    return kept


def _entry(entry: Mapping[str, Any]) -> JSON:
    raw = entry.get("bytes")
    is_bytes = isinstance(raw, list) and all(isinstance(b, int) and 0 <= b <= 255 for b in raw)
    return {
        "token": _text(entry.get("token")),
        "logprob": _number(entry.get("logprob")),
        "bytes": raw if is_bytes else None,
        "top_logprobs": [],
    }


def estimated_tokens(before: int, after: int) -> int:
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
