"""A model config as it was written, and single settings of it changed from the outside.

What a file says wrong (a key twice, no YAML at all) and its comments stay known after a change, and
a changed setting keeps the line it had. A document itself is never changed: `with_settings` gives
another, so that two places which share a value by a YAML anchor don't change together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import yaml

from tslc.domain.marked_yaml import DuplicateKey, Node, YamlProblem, read_value, read_yaml
from tslc.errors import Mistake

Path = tuple[str, ...]


@dataclass(frozen=True)
class ConfigDocument:
    """`source`: the text as written; `root`: what holds, with the lines of the source.

    `problem` is set, and `root` empty, for a text that is no mapping. `changed`: the settings that
    don't come from the source.
    """

    source: str
    root: Node
    duplicates: tuple[DuplicateKey, ...] = ()
    problem: YamlProblem | None = None
    changed: frozenset[Path] = frozenset()

    @property
    def text(self) -> str:
        """The YAML that says what holds: the source itself where nothing was changed."""
        if not self.changed:
            return self.source
        return yaml.safe_dump(self.root.value, sort_keys=False, allow_unicode=True, width=1_000_000)

    def section(self, *path: str) -> Mapping[str, object]:
        """The mapping at `path`, its keys as texts; an empty one where there is none."""
        node = self.root.at(*path)
        return {name: field.value for name, field in node.fields.items()} if node else {}

    def place(self, subject: str, *path: str) -> str:
        """`file:4 handler.endpoints`, or `--set KEY` for what was changed from the outside.

        The engine's keys are found with dashes and with underscores.
        """
        key = ".".join(path)
        for setting in sorted(self.changed):
            if _underscored(path[: len(setting)]) == _underscored(setting):
                name = ".".join(setting)
                return f"--set {name}" if len(path) == len(setting) else f"--set {name}, {key}"
        return f"{subject}:{self.root.line_of(*path)} {key}".rstrip()


def _underscored(path: Path) -> Path:
    return tuple(part.replace("-", "_") for part in path)


def read_document(text: str) -> ConfigDocument:
    """Any text is a document; what is wrong with it is said there."""
    try:
        root, duplicates = read_yaml(text)
    except YamlProblem as problem:
        return ConfigDocument(text, Node({}, problem.line), problem=problem)
    return ConfigDocument(text, root, duplicates)


def with_settings(
    document: ConfigDocument, assignments: Iterable[str]
) -> tuple[ConfigDocument, tuple[Mistake, ...]]:
    """The document with every `dotted.key=value` that can be set, and why others can't.

    A value is read as YAML, so `handler.max_body_bytes=1024` is a number. Parents that don't exist
    are made. A source that is no mapping is left as it is.
    """
    mistakes: list[Mistake] = []
    for said in assignments:
        outcome = _assigned(document, said)
        if isinstance(outcome, Mistake):
            mistakes.append(outcome)
        else:
            document = outcome
    return document, tuple(mistakes)


def _assigned(document: ConfigDocument, said: str) -> ConfigDocument | Mistake:
    where = f"--set {said}"
    dotted, equals, text = said.partition("=")
    path = tuple(dotted.strip().split("."))
    if not equals or not all(path):
        return Mistake(where, "not KEY=VALUE", 'write it like --set handler.system_prompt="Hi."')
    try:
        value, duplicates = read_value(text)
    except YamlProblem as problem:
        return Mistake(where, f"the value: {problem.problem}", "put it in quotes")
    for twice in duplicates:
        return Mistake(where, f"{'.'.join(twice.path)} is said twice", "keep one of the two")
    if document.problem is not None:
        return document
    for depth in range(1, len(path)):
        parent = document.root.at(*path[:depth])
        if parent is not None and not isinstance(parent.value, dict | None):
            name = ".".join(path[:depth])
            return Mistake(where, f"{name} holds no keys", f"set {name} itself")
    root = _set(document.root, path, value)
    return replace(document, root=root, changed=document.changed | {path})


def _set(node: Node, path: Path, value: Node) -> Node:
    name, *rest = path
    old = node.fields.get(name)
    line = old.line if old else node.line
    if rest:
        below = old if old and isinstance(old.value, dict) else Node({}, line)
        new = _set(below, tuple(rest), value)
    else:
        new = _at_line(value, line)
    plain = dict(node.value) if isinstance(node.value, dict) else {}
    # Keys of YAML need not be texts: `1:` is a number, and stays one.
    keys = dict(zip(node.fields, plain, strict=False)) if len(plain) == len(node.fields) else {}
    plain[keys.get(name, name)] = new.value
    return Node(plain, node.line, {**node.fields, name: new})


def _at_line(node: Node, line: int) -> Node:
    fields = {name: _at_line(field, line) for name, field in node.fields.items()}
    return Node(node.value, line, fields)
