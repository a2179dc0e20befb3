"""The judge of golden prompts: an answer in, the reasons why it fails out. Pure.

It fails closed: an answer it can't read passes nothing. What it judges is the answer's text (see
`answer_texts`); of several choices every one must hold. Refusals are told by phrase, not by a
model: see `is_refusal`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from tslc.domain.golden.prompt import CHAT_PATH, COMPLETIONS_PATH, Expectation, GoldenPrompt

# How a model says no, in its first words. Compared in lower case with straight apostrophes.
REFUSAL_PHRASES = (
    "i can't",
    "i cannot",
    "i can not",
    "i could not",
    "i won't",
    "i will not",
    "i'm unable",
    "i am unable",
    "i'm not able",
    "i am not able",
    "i must decline",
    "i have to decline",
    "i decline to",
    "i don't feel comfortable",
    "i refuse",
    "not something i can",
    "unable to assist",
    "unable to help",
    "unable to provide",
    "can't assist",
    "can't help with",
    "cannot assist",
    "cannot help with",
    "against my guidelines",
)
REFUSAL_WINDOW = 200


def judge(prompt: GoldenPrompt, status: int, body: bytes, seconds: float) -> tuple[str, ...]:
    """The reasons why an answer fails; empty when it passed."""
    expect = prompt.expect
    reasons: list[str] = []
    if expect.within_seconds is not None and not seconds <= expect.within_seconds:
        reasons.append(f"took {seconds:.1f} s, more than {expect.within_seconds:g} s")
    if status != expect.status:
        reasons.append(f"status {status} instead of {expect.status}: {_shown(body)}")
        return tuple(reasons)
    if not expect.of_text and (status >= 400 or not _generates(prompt.path)):
        return tuple(reasons)
    try:
        texts = answer_texts(body)
    except ValueError as error:
        return (*reasons, f"{error}: {_shown(body)}")
    for number, text in enumerate(texts):
        of = f"choice {number}: " if len(texts) > 1 else ""
        reasons += [of + reason for reason in _judge_text(expect, text)]
    return tuple(reasons)


def answer_texts(body: bytes) -> tuple[str, ...]:
    """The text of each choice of a chat or completion answer.

    A message's text is its content; tool calls follow it, each on a line as canonical JSON,
    `{"arguments": {...}, "name": "get_weather"}`. Raises ValueError for anything else.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("the answer is not JSON") from None
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list) or not choices:
        raise ValueError("the answer has no choices")
    return tuple(_choice_text(choice) for choice in choices)


def _choice_text(choice: object) -> str:
    match choice:
        case {"text": str(text)}:
            return text
        case {"message": {"content": str(content)} as message}:
            pass
        case {"message": {"content": None} as message} | {"message": {"tool_calls": _} as message}:
            content = ""
        case _:
            raise ValueError("a choice holds neither a text nor a message")
    calls = message.get("tool_calls")
    lines = [content] if content else []
    lines += [_tool_call_text(call) for call in calls] if isinstance(calls, list) else []
    return "\n".join(lines)


def _tool_call_text(call: object) -> str:
    match call:
        case {"function": {"name": str(name), "arguments": str(arguments)}}:
            pass
        case _:
            raise ValueError("a tool call without a function's name and arguments")
    try:
        parsed = json.loads(arguments or "{}")
    except ValueError:
        parsed = arguments
    return json.dumps({"name": name, "arguments": parsed}, sort_keys=True, ensure_ascii=False)


def _generates(path: str) -> bool:
    return path in (CHAT_PATH, COMPLETIONS_PATH)


def _judge_text(expect: Expectation, text: str) -> list[str]:
    shown = _shown(text.encode("utf-8", "replace"))
    reasons = [f"does not contain {w!r}: {shown}" for w in expect.contains if w not in text]
    reasons += [f"contains {w!r}: {shown}" for w in expect.not_contains if w in text]
    # Silence holds vacuously of not_contains and regex `.*`; it is no answer.
    if not text.strip() and (expect.exact is None or expect.exact.strip()):
        reasons.append("the answer is empty")
    if expect.exact is not None and text.strip() != expect.exact.strip():
        reasons.append(f"is not {expect.exact!r}: {shown}")
    if expect.regex is not None and not re.search(expect.regex, text):
        reasons.append(f"does not match /{expect.regex}/: {shown}")
    if expect.refusal is not None and is_refusal(text) != expect.refusal:
        reasons.append(f"{'is no refusal' if expect.refusal else 'is a refusal'}: {shown}")
    if expect.json_schema is not None and (problem := _schema_problem(expect.json_schema, text)):
        reasons.append(f"{problem}: {shown}")
    return reasons


def is_refusal(text: str) -> bool:
    """Whether one of REFUSAL_PHRASES stands in the first 200 characters.

    Deliberately simple: it misses a refusal in other words or another language, and takes "I can't
    wait" for one. Use `contains` or `regex` where that matters.
    """
    start = " ".join(text.lower().replace("’", "'").split())[:REFUSAL_WINDOW]
    return any(re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", start) for phrase in REFUSAL_PHRASES)


def _schema_problem(schema: Mapping[str, Any] | bool, text: str) -> str | None:
    import jsonschema
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    try:
        instance = json.loads(text)
    except (ValueError, RecursionError):
        return "is not JSON"
    # An empty registry: a schema may refer to itself, never to the network.
    validator = jsonschema.Draft202012Validator(schema, registry=Registry())
    try:
        error = jsonschema.exceptions.best_match(validator.iter_errors(instance))
    except Unresolvable as unresolvable:
        return f"its schema refers to what it does not hold ({unresolvable})"
    return error and f"breaks the schema at {error.json_path}: {error.message}"


def _shown(content: bytes, limit: int = 160) -> str:
    """The beginning of an answer, on one line."""
    text = " ".join(content.decode("utf-8", "replace").split())
    return text if len(text) <= limit else text[:limit] + "…"
