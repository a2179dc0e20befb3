"""What of a request the guard reads, and what of it may reach the engine at all.

Fields are let through by allow-lists: one that nobody here knows may carry text past the guard, or
bring text back that was not looked at. Roles, parts and prompts that can't be read as text are
refused, not skipped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tslc_handlers.guard.prompt import Role, Turn
from tslc_handlers.messages import JSON, HandlerError

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
GUARDED = (CHAT, TEXT)
"""Endpoints whose generated text is checked."""
HARMLESS = (
    "/v1/embeddings",
    "/v1/models",
    "/v1/rerank",
    "/v1/score",
    "/classify",
    "/pooling",
    "/rerank",
    "/score",
    "/tokenize",
    "/detokenize",
    "/version",
)
"""Endpoints that generate no text: numbers, or the client's own words. Any other, whether it is
known to generate (/v1/responses, /v1/messages, audio) or not, is not served beside a guard."""

MOST_CHOICES = 128

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
_BESIDE = (
    *("tools", "documents", "chat_template_kwargs", "suffix"),
    *("response_format", "structured_outputs"),
)
_SYSTEM = ("system", "developer")
_ROLES = {"user": Role.USER, "tool": Role.USER, "function": Role.USER, "assistant": Role.AGENT}
# Of a message. `author` and the like are another protocol's, which vLLM reads as well.
_OF_MESSAGE = frozenset(
    (
        *("role", "content", "name", "refusal", "reasoning", "reasoning_content"),
        *("tool_calls", "tool_call_id", "function_call", "tools"),
    )
)
_PARTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
# A part is an image as soon as it has an image's key, whatever type it claims.
_OF_PART = frozenset(("type", "text", "refusal", "cache_control"))
# Names in nested values that say nothing, and words that `type` has there.
_KEYS = frozenset(("type", "id", "function", "name", "arguments", "description", "parameters"))
_TYPES = ("function", "custom")


@dataclass(frozen=True)
class Asked:
    """What the client said. `judged`: how many turns of the conversation each check has, whose
    last one is judged. `beside`: what stands beside it (system messages, tools), to be judged by
    itself; empty for nothing. `continues`: the answer goes on where the last turn ends."""

    conversation: tuple[Turn, ...]
    beside: str = ""
    judged: tuple[int, ...] = ()
    continues: bool = False

    @property
    def checks(self) -> tuple[tuple[Turn, ...], ...]:
        """The conversations to judge before anything is released, each by its last turn."""
        return tuple(self.conversation[:length] for length in self.judged)

    def answered(self, text: str) -> tuple[Turn, ...]:
        """The conversation with the model's answer, as its reader will see it."""
        if not self.continues:
            return (*self.conversation, Turn(Role.AGENT, text))
        return (*self.conversation[:-1], Turn(Role.AGENT, self.conversation[-1].text + text))


def read_request(path: str, body: JSON, more_fields: frozenset[str] = frozenset()) -> Asked:
    """Raises HandlerError (400) for what can't be checked."""
    unknown = sorted(set(body) - _FIELDS[path] - more_fields)
    if unknown:
        raise _refused(f"{', '.join(unknown)}: not taken here, since the guard can't check it")
    choices_of(body)
    beside = [_as_text(body[key]) for key in _BESIDE if _says(body.get(key))]
    if path == TEXT:
        prompt = Turn(Role.USER, _prompt(body.get("prompt")))
        return Asked((prompt,), "\n\n".join(beside), judged=(1,))
    kwargs = body.get("chat_template_kwargs") or {}
    if not isinstance(kwargs, dict) or "chat_template" in kwargs:
        raise _refused("chat_template_kwargs.chat_template: not taken here")
    roles, turns, system = _conversation(body.get("messages"))
    continues = bool(body.get("continue_final_message")) and roles[-1:] == ["assistant"]
    return Asked(tuple(turns), "\n\n".join([*system, *beside]), _judged(roles), continues)


def choices_of(body: JSON) -> int:
    """How many answers are asked for. Raises HandlerError (400) for what is no such number."""
    choices = body.get("n")
    if choices is None:
        return 1
    if isinstance(choices, bool) or not isinstance(choices, int) or choices < 1:
        raise _refused("n: a whole number from 1 is needed")
    if choices > MOST_CHOICES:
        raise _refused(f"n: at most {MOST_CHOICES} answers are given at once")
    return choices


def for_engine(path: str, body: JSON) -> JSON:
    """The request as the guard read it, and with nothing asked for that nobody would look at.

    Parts of a message become the one text that was judged (a template may join them otherwise). Log
    probabilities are given for the tokens of the answer, not for others likely at their place.
    """
    changed = dict(body)
    if path == CHAT:
        changed["messages"] = [
            {**message, "content": _content(message["content"], "")}
            if isinstance(message.get("content"), list)
            else message
            for message in body["messages"]
        ]
        if changed.get("logprobs"):
            changed["top_logprobs"] = 0
    elif changed.get("logprobs") is not None:
        changed["logprobs"] = 0
    return changed


def _conversation(messages: Any) -> tuple[list[str], list[Turn], list[str]]:
    """Roles and turns of the conversation, and the texts of its system messages."""
    if not isinstance(messages, list) or not messages:
        raise _refused("messages: a list of messages is needed")
    roles: list[str] = []
    turns: list[Turn] = []
    system: list[str] = []
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        if not isinstance(message, dict):
            raise _refused(f"{where} is not an object")
        role, text = message.get("role"), _message_text(message, where)
        if role in _SYSTEM:
            system.append(text)
        elif isinstance(role, str) and role in _ROLES:
            roles.append(role)
            turns.append(Turn(_ROLES[role], text))
        else:
            raise _refused(f"{where}.role: {role!r} is not known to the guard")
    return roles, turns, system


def _judged(roles: Sequence[str]) -> tuple[int, ...]:
    """Up to the last turn; where that is the beginning of an answer, or what a tool gave, also up
    to the client's last one, and up to the user's."""
    user = (number for number, role in enumerate(roles, 1) if role == "user")
    client = (number for number, role in enumerate(roles, 1) if role != "assistant")
    lengths = {len(roles), max(user, default=0), max(client, default=0)}
    return tuple(sorted(lengths - {0}))


def _prompt(prompt: Any) -> str:
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise _refused("prompt: one text is needed; token ids and lists can't be checked")
    return prompt


def _message_text(message: Mapping[str, Any], where: str) -> str:
    for key, value in message.items():
        if key not in _OF_MESSAGE and value:
            raise _refused(f"{where}.{key}: not taken here, since the guard can't check it")
    content = _content(message.get("content"), f"{where}.content")
    rest = [value for key, value in message.items() if key not in ("role", "content")]
    return "\n".join(text for text in (content, *_strings(rest)) if text)


def _content(content: Any, where: str) -> str:
    """A message's content as one text."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise _refused(f"{where}: a text or a list of parts is needed")
    return "\n".join(_part(part, f"{where}[{i}]") for i, part in enumerate(content))


def _part(part: Any, where: str) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        raise _refused(f"{where} is not an object")
    kind = part.get("type", "text")
    if not isinstance(kind, str) or kind not in _PARTS:
        raise _refused(f"{where}: the guard reads text, not {kind}")
    if unknown := sorted(set(part) - _OF_PART):
        raise _refused(f"{where}: the guard reads text, not {', '.join(unknown)}")
    text = part.get(_PARTS[kind])
    if not isinstance(text, str):
        raise _refused(f"{where}.{_PARTS[kind]}: a text is needed")
    return text


def _strings(value: Any) -> Iterator[str]:
    """Every text in a JSON value, ids and unusual names of keys too: templates may show them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key not in _KEYS:
                yield key
            if key != "type" or item not in _TYPES:
                yield from _strings(item)


def _says(value: Any) -> bool:
    """Whether a field holds anything that could be read: {"type": "json_object"} does not."""
    return bool(value) and not (isinstance(value, dict) and set(value) == {"type"})


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _refused(message: str) -> HandlerError:
    return HandlerError(400, message)
