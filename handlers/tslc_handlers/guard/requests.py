"""What of a request the guard reads, and what of it may reach the engine at all.

Fields are let through by an allow-list: a field nobody here knows may carry text past the guard, or
bring text back that was not looked at. Roles, parts and prompts that can't be read as text are
refused, not skipped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tslc_handlers.guard.prompt import Role, Turn
from tslc_handlers.messages import JSON, HandlerError

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
GUARDED = (CHAT, TEXT)
"""Endpoints whose generated text is checked."""
UNGUARDABLE = (
    "/v1/responses",
    "/v1/messages",
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
)
"""Endpoints that generate text in forms that are not checked here, so that they are not served."""

_COMMON = (
    "model stream stream_options max_tokens min_tokens n temperature top_p top_k min_p seed stop "
    "stop_token_ids ignore_eos presence_penalty frequency_penalty repetition_penalty "
    "length_penalty logit_bias allowed_token_ids bad_words logprobs user priority request_id "
    "response_format structured_outputs skip_special_tokens spaces_between_special_tokens "
    "include_stop_str_in_output truncate_prompt_tokens add_special_tokens cache_salt "
    "use_beam_search best_of echo metadata store service_tier prompt_cache_key safety_identifier"
)
_OF_CHAT = (
    "messages max_completion_tokens top_logprobs tools tool_choice parallel_tool_calls "
    "reasoning_effort include_reasoning chat_template_kwargs add_generation_prompt "
    "continue_final_message documents verbosity"
)
_FIELDS = {
    CHAT: frozenset((*_COMMON.split(), *_OF_CHAT.split())),
    TEXT: frozenset((*_COMMON.split(), "prompt", "suffix")),
}
# Fields with text of the client's beside the conversation.
_BESIDE = ("tools", "documents", "chat_template_kwargs", "suffix")
_SYSTEM = ("system", "developer")
_ROLES = {"user": Role.USER, "tool": Role.USER, "function": Role.USER, "assistant": Role.AGENT}
# What of a message is no text that a template could show: an id only means the client's own call.
_NO_TEXT = frozenset(("role", "type", "id", "tool_call_id"))
_TEXT_PARTS = frozenset(("text", "input_text", "output_text", "refusal"))


@dataclass(frozen=True)
class Asked:
    """`conversation`: what was said, the last turn being the one to judge. `beside`: what the
    client put beside it (system messages, tools), to be judged by itself; empty for nothing."""

    conversation: tuple[Turn, ...]
    beside: str = ""

    @property
    def checks(self) -> tuple[tuple[Turn, ...], ...]:
        """The conversations to judge before anything is released, each by its last turn.

        Where the client has begun the answer itself, that beginning and the user's turn before it.
        """
        found = [self.conversation] if self.conversation else []
        if self.conversation and self.conversation[-1].role is Role.AGENT:
            last = max(
                (i for i, turn in enumerate(self.conversation) if turn.role is Role.USER),
                default=-1,
            )
            if last >= 0:
                found.append(self.conversation[: last + 1])
        return tuple(found)


def read_request(path: str, body: JSON, more_fields: frozenset[str] = frozenset()) -> Asked:
    """Raises HandlerError (400) for what can't be checked."""
    unknown = sorted(set(body) - _FIELDS[path] - more_fields)
    if unknown:
        raise _refused(f"{', '.join(unknown)}: not taken here, since the guard can't check it")
    beside = [_as_text(body[key]) for key in _BESIDE if body.get(key)]
    if path == TEXT:
        return Asked((Turn(Role.USER, _prompt(body.get("prompt"))),), "\n\n".join(beside))
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _refused("messages: a list of messages is needed")
    turns: list[Turn] = []
    system: list[str] = []
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        if not isinstance(message, dict):
            raise _refused(f"{where} is not an object")
        role, text = message.get("role"), _message_text(message, where)
        if role in _SYSTEM:
            system.append(text)
        elif role in _ROLES:
            turns.append(Turn(_ROLES[role], text))
        else:
            raise _refused(f"{where}.role: {role!r} is not known to the guard")
    return Asked(tuple(turns), "\n\n".join([*system, *beside]))


def for_engine(path: str, body: JSON) -> JSON:
    """The request with nothing asked for that would bring back text nobody looked at.

    Log probabilities are given for the tokens of the answer, not for others likely at their place.
    """
    changed = dict(body)
    if path == CHAT and changed.get("logprobs"):
        changed["top_logprobs"] = 0
    if path == TEXT and changed.get("logprobs") is not None:
        changed["logprobs"] = 0
    return changed


def _prompt(prompt: Any) -> str:
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise _refused("prompt: one text is needed; token ids and lists can't be checked")
    return prompt


def _message_text(message: Mapping[str, Any], where: str) -> str:
    content = message.get("content")
    for number, part in enumerate(content if isinstance(content, list) else ()):
        kind = part.get("type", "text") if isinstance(part, dict) else "text"
        if kind not in _TEXT_PARTS:
            raise _refused(f"{where}.content[{number}]: the guard reads text, not {kind}")
    rest = {key: value for key, value in message.items() if key != "content"}
    return "\n".join([*_strings(content), *_strings(rest)])


def _strings(value: Any) -> Iterator[str]:
    """Every text in a JSON value, whatever it is called, but for names of roles and ids."""
    if isinstance(value, str):
        if value:
            yield value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key not in _NO_TEXT:
                yield from _strings(item)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _refused(message: str) -> HandlerError:
    return HandlerError(400, message)
