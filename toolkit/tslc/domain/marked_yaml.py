"""YAML with line numbers, and the mistakes a plain loader swallows: a key written twice.

Reads what TorchServe's SnakeYAML and Python's safe loader both read (YAML 1.1, one document, plain
types); anything else is a YamlProblem. Never raises anything but that, whatever the text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import yaml

_MAP, _SEQ = "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"
_MERGE = "tag:yaml.org,2002:merge"
# What PyYAML lets through from the texts it reads numbers, dates and escapes with.
_NOT_READABLE = (
    yaml.YAMLError,
    ValueError,
    OverflowError,
    KeyError,
    IndexError,
    AttributeError,
    TypeError,
)


class YamlProblem(Exception):
    """Where and why a text can't be read; a finding in the making."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line
        self.problem = problem


@dataclass(frozen=True)
class Node:
    """A value and the line (from 1) its key stands on; `fields` are a mapping's, by key."""

    value: object
    line: int
    fields: Mapping[str, Node] = field(default_factory=dict)

    def at(self, *path: str) -> Node | None:
        """The node below this one, or None."""
        node: Node | None = self
        for key in path:
            node = node.fields.get(key) if node else None
        return node

    def line_of(self, *path: str) -> int:
        """The line of the deepest node of `path` that is there."""
        node = self
        for key in path:
            if key not in node.fields:
                break
            node = node.fields[key]
        return node.line


@dataclass(frozen=True)
class DuplicateKey:
    path: tuple[str, ...]
    first_line: int
    line: int


def read_yaml(text: str) -> tuple[Node, tuple[DuplicateKey, ...]]:
    """The document's mapping and the keys written twice. Raises YamlProblem."""
    root = compose_yaml(text)
    if not isinstance(root, yaml.MappingNode):
        raise YamlProblem(1, "the document is not a mapping of keys to values")
    return _read(root)


def read_value(text: str) -> tuple[Node, tuple[DuplicateKey, ...]]:
    """One value of any kind (an empty text is null) and the keys written twice in it.

    Raises YamlProblem.
    """
    root = compose_yaml(text)
    return (Node(None, 1), ()) if root is None else _read(root)


def read_node(node: yaml.Node) -> tuple[Node, tuple[DuplicateKey, ...]]:
    """The value of a part of `compose_yaml`'s tree. Raises YamlProblem."""
    return _read(node)


def compose_yaml(text: str) -> yaml.Node | None:
    """PyYAML's tree of a text, no value constructed yet; None for an empty one.

    Raises YamlProblem.
    """
    with _translated():
        return yaml.compose(text, Loader=yaml.SafeLoader)


def _read(root: yaml.Node) -> tuple[Node, tuple[DuplicateKey, ...]]:
    reader = _Reader()
    with _translated():
        return reader.read(root, 1, ()), tuple(reader.duplicates)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except RecursionError:
        raise YamlProblem(1, "the document is nested too deeply") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlProblem(mark.line + 1 if mark else 1, _message(error)) from None
    except _NOT_READABLE as error:
        raise YamlProblem(1, f"not YAML: {_one_line(error)}") from None


def _message(error: yaml.MarkedYAMLError) -> str:
    return "not YAML: " + ", ".join(part for part in (error.context, error.problem) if part)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


class _Reader:
    def __init__(self) -> None:
        self.duplicates: list[DuplicateKey] = []
        self._open: set[int] = set()
        self._known: dict[int, Node] = {}
        self._scalars = yaml.constructor.SafeConstructor()

    def read(self, node: yaml.Node, line: int, path: tuple[str, ...]) -> Node:
        if id(node) in self._known:
            known = self._known[id(node)]
            return Node(known.value, line, known.fields)
        if id(node) in self._open:
            raise YamlProblem(node.start_mark.line + 1, "an alias contains itself")
        self._open.add(id(node))
        try:
            self._known[id(node)] = self._read(node, line, path)
        finally:
            self._open.discard(id(node))
        return self._known[id(node)]

    def _read(self, node: yaml.Node, line: int, path: tuple[str, ...]) -> Node:
        if isinstance(node, yaml.ScalarNode):
            return Node(self._scalar(node), line)
        if node.tag not in (_MAP, _SEQ):
            raise YamlProblem(node.start_mark.line + 1, f"a value of another type ({node.tag})")
        if isinstance(node, yaml.SequenceNode):
            items = [self.read(item, item.start_mark.line + 1, path) for item in node.value]
            return Node([item.value for item in items], line)
        plain: dict[object, object] = {}
        fields: dict[str, Node] = {}
        for name, key, found in self._entries(node, path):
            fields[name] = found
            plain[key] = found.value
        return Node(plain, line, fields)

    def _entries(self, node: yaml.Node, path: tuple[str, ...]) -> list[tuple[str, object, Node]]:
        """(text of the key, key, value) in order; merged entries (`<<`) first, so own ones win."""
        merged: list[tuple[str, object, Node]] = []
        own: dict[str, tuple[str, object, Node]] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise YamlProblem(line, "a key is a list or a mapping")
            if key_node.tag == _MERGE:
                merged = self._merged(value_node, path) + merged
                continue
            name = key_node.value
            if name in own:
                first = own.pop(name)[2].line
                self.duplicates.append(DuplicateKey((*path, name), first, line))
            found = self.read(value_node, line, (*path, name))
            own[name] = (name, self._scalar(key_node), Node(found.value, line, found.fields))
        return [*merged, *own.values()]

    def _merged(self, node: yaml.Node, path: tuple[str, ...]) -> list[tuple[str, object, Node]]:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        entries: list[tuple[str, object, Node]] = []
        for source in sources:
            line = source.start_mark.line + 1
            if not isinstance(source, yaml.MappingNode):
                raise YamlProblem(line, "'<<' merges something that is not a mapping")
            found = self.read(source, line, path).fields
            entries = [(name, name, item) for name, item in found.items()] + entries
        return entries

    def _scalar(self, node: yaml.ScalarNode) -> object:
        try:
            return self._scalars.construct_object(node, deep=True)
        except _NOT_READABLE as error:
            line = node.start_mark.line + 1
            raise YamlProblem(
                line, f"{node.value[:40]!r} is not readable: {_one_line(error)}"
            ) from None
