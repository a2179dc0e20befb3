"""`--set handler.system_prompt=…`: single settings of a model config changed from the outside.

A value is read as YAML, so `--set handler.max_body_bytes=1024` is a number. Parents that don't
exist are made. What the file said otherwise is kept, its comments are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from tslc.errors import BadFile, Mistake

# What PyYAML raises for a text it can't read: a date of month 13 is a plain ValueError.
_NOT_YAML = (yaml.YAMLError, ValueError, TypeError, RecursionError)


def apply_overrides(text: str, assignments: Sequence[str], subject: str) -> str:
    """The YAML text with every `dotted.key=value` applied; the same text when there is none.

    Raises BadFile with all assignments that can't be applied, and when the text is no mapping.
    """
    if not assignments:
        return text
    try:
        document = yaml.safe_load(text)
    except _NOT_YAML as error:
        mistake = Mistake("the file", f"not YAML: {error}", "mend it, then set single values")
        raise BadFile(subject, [mistake]) from None
    if document is None:
        document = {}
    if not isinstance(document, dict):
        mistake = Mistake("the file", "not a mapping of keys", "write `key: value` lines")
        raise BadFile(subject, [mistake])
    mistakes = [found for said in assignments if (found := _assign(document, said))]
    if mistakes:
        raise BadFile(subject, mistakes)
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1_000_000)


def _assign(document: dict[Any, Any], said: str) -> Mistake | None:
    where = f"--set {said}"
    dotted, equals, value = said.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        return Mistake(where, "not KEY=VALUE", 'write it like --set handler.system_prompt="Hi."')
    try:
        parsed = yaml.safe_load(value)
    except _NOT_YAML as error:
        problem = getattr(error, "problem", None) or str(error)
        return Mistake(where, f"the value is not YAML: {problem}", "put the value in quotes")
    level = document
    for depth, key in enumerate(keys[:-1], start=1):
        below = level.setdefault(key, {})
        if below is None:
            below = level[key] = {}
        if not isinstance(below, dict):
            parent = ".".join(keys[:depth])
            return Mistake(where, f"{parent} holds no keys", f"set {parent} itself")
        level = below
    level[keys[-1]] = parsed
    return None
