"""golden.jsonl: reading golden prompts, with every mistake of the file at once.

A prompt that expects nothing proves nothing and is a mistake; so is a file without prompts.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

from tslc.domain.golden.prompt import CHAT_PATH, COMPLETIONS_PATH, Expectation, GoldenPrompt
from tslc.domain.vocabulary import unknown_word
from tslc.errors import BadFile, Mistake

KEYS = ("name", "path", "request", "expect")
EXPECT_KEYS = (
    "contains",
    "not_contains",
    "exact",
    "regex",
    "json_schema",
    "refusal",
    "status",
    "within_seconds",
)
Report = Callable[[str, str, str], None]


def parse_golden(text: str, subject: str) -> tuple[GoldenPrompt, ...]:
    """The prompts of a golden.jsonl; raises BadFile with every mistake found."""
    mistakes: list[Mistake] = []
    prompts: list[GoldenPrompt] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip() and (prompt := _read_line(f"line {number}", line, mistakes)):
            prompts.append(prompt)
    names = [prompt.name for prompt in prompts]
    for name in sorted({name for name in names if names.count(name) > 1}):
        mistakes.append(Mistake(f"name {name!r}", "said twice", "give each prompt its own name"))
    if not prompts and not mistakes:
        fix = 'write a line: {"name": …, "request": {"messages": […]}, "expect": {"contains": […]}}'
        mistakes.append(Mistake("the file", "no golden prompts", fix))
    if mistakes:
        raise BadFile(subject, mistakes)
    return tuple(prompts)


def _read_line(where: str, line: str, mistakes: list[Mistake]) -> GoldenPrompt | None:
    before = len(mistakes)

    def report(key: str, problem: str, fix: str) -> None:
        mistakes.append(Mistake(f"{where}, {key}" if key else where, problem, fix))

    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        report("", f"not JSON: {error}", "one JSON object a line")
        return None
    if not isinstance(document, dict):
        report("", "not a JSON object", 'write {"name": …, "request": …, "expect": …}')
        return None
    mistakes += [unknown_word(where, key, KEYS) for key in document if key not in KEYS]
    name = document.get("name", where.replace(" ", "-"))
    if not isinstance(name, str) or not name:
        report("name", f"{name!r} is not a text", "give the prompt a short name")
    request = _read_request(document.get("request"), report)
    path = _read_path(document.get("path"), request, report)
    expect = _read_expect(where, document.get("expect"), report, mistakes)
    if len(mistakes) > before:
        return None
    return GoldenPrompt(name, path, request, expect)


def _read_request(request: object, report: Report) -> dict[str, Any]:
    if not isinstance(request, dict) or not request:
        report("request", "missing, or not an object", 'write "request": {"messages": […]}')
        return {}
    if request.get("stream"):
        report("request.stream", "golden prompts are asked without streaming", "leave it out")
    return request


def _read_path(path: object, request: dict[str, Any], report: Report) -> str:
    if isinstance(path, str) and path.startswith("/"):
        return path
    if path is not None:
        report("path", f"{path!r} is not a path", f'write "{CHAT_PATH}"')
    elif "messages" in request:
        return CHAT_PATH
    elif "prompt" in request:
        return COMPLETIONS_PATH
    elif request:
        report("path", "missing, and the request has neither messages nor prompt", "write the path")
    return ""


def _read_expect(
    where: str, expect: object, report: Report, mistakes: list[Mistake]
) -> Expectation:
    if not isinstance(expect, dict) or not expect:
        fix = f"say at least one of: {', '.join(EXPECT_KEYS)}"
        report("expect", "nothing is expected of the answer", fix)
        return Expectation()
    inside = f"{where}, expect"
    mistakes += [unknown_word(inside, key, EXPECT_KEYS) for key in expect if key not in EXPECT_KEYS]
    known: dict[str, Any] = {}
    for key in EXPECT_KEYS:
        if key in expect:
            value, problem = _READERS[key](expect[key])
            if problem:
                report(f"expect.{key}", problem, _FIXES[key])
            known[key] = value
    return Expectation(**known)


Read = tuple[Any, str | None]


def _texts(value: object) -> Read:
    words = [value] if isinstance(value, str) else value
    if isinstance(words, list) and words and all(isinstance(w, str) and w for w in words):
        return tuple(words), None
    return (), f"{value!r} is not a list of texts"


def _text(value: object) -> Read:
    return value, None if isinstance(value, str) else f"{value!r} is not a text"


def _regex(value: object) -> Read:
    if not isinstance(value, str) or not value:
        return None, f"{value!r} is not a regular expression"
    try:
        re.compile(value)
    except re.error as error:
        return None, f"not a regular expression: {error}"
    return value, None


def _schema(value: object) -> Read:
    import jsonschema

    try:
        jsonschema.Draft202012Validator.check_schema(value)  # type: ignore[arg-type]
    except jsonschema.exceptions.SchemaError as error:
        return None, f"not a JSON schema: {error.message} (at {error.json_path})"
    return value, None


def _flag(value: object) -> Read:
    return value, None if isinstance(value, bool) else f"{value!r} is neither true nor false"


def _status(value: object) -> Read:
    good = isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 599
    return value, None if good else f"{value!r} is not an HTTP status"


def _seconds(value: object) -> Read:
    good = isinstance(value, int | float) and not isinstance(value, bool)
    good = good and math.isfinite(value) and value > 0  # type: ignore[operator,arg-type]
    return value, None if good else f"{value!r} is not a number of seconds"


_READERS: dict[str, Callable[[object], Read]] = {
    "contains": _texts,
    "not_contains": _texts,
    "exact": _text,
    "regex": _regex,
    "json_schema": _schema,
    "refusal": _flag,
    "status": _status,
    "within_seconds": _seconds,
}
_FIXES = {
    "contains": 'write ["Paris"]',
    "not_contains": 'write ["as a language model"]',
    "exact": "write the whole answer as text",
    "regex": 'write a Python regular expression, as in "\\\\bParis\\\\b"',
    "json_schema": "write a JSON schema (draft 2020-12)",
    "refusal": "write true or false",
    "status": "write a number, 200 when left out",
    "within_seconds": "write a number above 0",
}
