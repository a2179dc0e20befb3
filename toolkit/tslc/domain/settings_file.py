"""What tslc.yaml says: its values by dotted key, and everything in it that should not be there.

It knows which keys there are, not what they may hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tslc.domain import settings_pipeline
from tslc.domain.marked_yaml import Node, YamlProblem, read_yaml
from tslc.domain.settings_values import CREDENTIALS_FIX, WrongValue, read_environment
from tslc.domain.vocabulary import unknown_word
from tslc.errors import Mistake

FILE_NAME = "tslc.yaml"
SECTIONS: Mapping[str, tuple[str, ...]] = {
    "": ("store", "cache", "environments", "default_environment", "pipeline"),
    "store": ("url", "endpoint_url", "region", "encryption"),
    "store.encryption": ("type", "key_id"),
    "cache": ("path", "max_size"),
    "pipeline": settings_pipeline.KEYS,
}
ENVIRONMENTS = "environments"
ENVIRONMENT_KEYS = ("trusted_keys", "allow_unsigned", "allow_version_header", "strategy")
_CREDENTIAL_KEY = re.compile(r"access.?key|secret|passw|token|credential|private.?key", re.I)
_CREDENTIAL = re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b")


@dataclass(frozen=True)
class Written:
    """A value of the file and the line of its key."""

    value: object
    line: int


@dataclass
class FileSettings:
    """`values` by dotted key; `environments` by name and key, in order."""

    values: dict[str, Written] = field(default_factory=dict)
    environments: dict[str, dict[str, Written]] = field(default_factory=dict)
    mistakes: list[tuple[int, Mistake]] = field(default_factory=list)

    def wrong(self, line: int, key: str, problem: str, fix: str) -> None:
        self.mistakes.append((line, Mistake(key, problem, fix)))


def read_file(text: str) -> FileSettings:
    """Never raises: what can't be read is among the mistakes, each with its line."""
    found = FileSettings()
    if not any(_says_something(line) for line in text.splitlines()):
        return found
    try:
        root, duplicates = read_yaml(text)
    except YamlProblem as problem:
        found.wrong(problem.line, "the file", problem.problem, "write `key: value` lines")
        return found
    for one in duplicates:
        fix = f"keep one of lines {one.first_line} and {one.line}"
        found.wrong(one.line, ".".join(one.path), "the key stands twice", fix)
    _read_section(root, "", found)
    return found


def _says_something(line: str) -> bool:
    return line.strip() not in ("", "---") and not line.lstrip().startswith("#")


def _read_section(node: Node, section: str, found: FileSettings) -> None:
    for name, key, below in _known(node, section, SECTIONS[section], found):
        if name == ENVIRONMENTS and not section:
            _read_environments(below, found)
        elif key in SECTIONS:
            _read_section(below, key, found)
        elif below.value is not None:
            found.values[key] = Written(below.value, below.line)


def _read_environments(node: Node, found: FileSettings) -> None:
    if not _is_section(node, ENVIRONMENTS, found):
        return
    for name, below in node.fields.items():
        key = f"{ENVIRONMENTS}.{name}"
        try:
            read_environment(name)
        except WrongValue as wrong:
            found.wrong(below.line, key, wrong.problem, wrong.fix)
            continue
        known = list(_known(below, key, ENVIRONMENT_KEYS, found))
        found.environments[name] = {
            # An environment without keys still stands in the file.
            "": Written(None, below.line),
            **{one: Written(at.value, at.line) for one, _, at in known if at.value is not None},
        }


def _known(
    node: Node, section: str, keys: tuple[str, ...], found: FileSettings
) -> Iterable[tuple[str, str, Node]]:
    """(name, dotted key, node) of the section's own keys; the others are mistakes."""
    if not _is_section(node, section, found):
        return
    for name, below in node.fields.items():
        key = f"{section}.{name}" if section else name
        if name in keys:
            if any(_CREDENTIAL.search(text) for text in _texts(below.value)):
                found.wrong(below.line, key, "an AWS access key in a file", CREDENTIALS_FIX)
            else:
                yield name, key, below
        elif _CREDENTIAL_KEY.search(name):
            found.wrong(below.line, key, "credentials don't belong in a file", CREDENTIALS_FIX)
        else:
            found.mistakes.append((below.line, unknown_word(key, name, keys)))


def _is_section(node: Node, section: str, found: FileSettings) -> bool:
    """A section may be empty, but not a plain value."""
    if node.value is None or isinstance(node.value, dict):
        return True
    found.wrong(node.line, section, "not a mapping of keys", "write its keys below it")
    return False


def _texts(value: object) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        yield from (one for one in value if isinstance(one, str))
