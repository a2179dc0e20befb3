"""Whether a value of a YAML file fits a Python annotation given as text.

The same small language describes TorchServe's keys, the handler's and vLLM's engine arguments:
`int`, `str | list[str]`, `dict[str, Any] | None`, `Literal['auto', 'half']`. A name that is not
understood (a class of vLLM's) fits everything: only what is surely wrong is called wrong.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from functools import lru_cache

_SCALARS: dict[str, type] = {"bool": bool, "int": int, "float": float, "str": str}
_LISTS = {"list", "List", "set", "Set", "tuple", "Sequence", "Iterable"}
_MAPPINGS = {"dict", "Dict", "Mapping"}
_NUMBER = re.compile(r"-?\d+(?P<decimals>\.\d+)?(?P<unit>[kKmMgGtT]?)")
_UNITS = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def fits(annotation: str, value: object) -> bool:
    """False when `value` is surely none of what `annotation` allows."""
    return _accepts(_parse(annotation), value) is not False


def choices(annotation: str) -> tuple[object, ...]:
    """Every value the annotation's `Literal`s name, in order; empty when it has none."""
    return tuple(_literals(_parse(annotation)))


def human_number(text: str) -> int | None:
    """The integer a text such as `16k` (16,000) or `16K` (16,384) means to vLLM's command line,
    which the handler reads texts with; None when it is not one."""
    found = _NUMBER.fullmatch(text)
    if not found:
        return None
    unit = found["unit"]
    if unit in _BINARY_UNITS:
        return None if found["decimals"] else int(text[:-1]) * _BINARY_UNITS[unit]
    if unit:
        return int(float(text[:-1]) * _UNITS[unit])
    return None if found["decimals"] else int(text)


def expand(annotation: str, aliases: Mapping[str, str]) -> str:
    """The annotation with every alias (`CacheDType`) replaced by what it stands for."""
    tree = _Expander(aliases).visit(ast.parse(annotation, mode="eval"))
    return ast.unparse(tree)


class _Expander(ast.NodeTransformer):
    def __init__(self, aliases: Mapping[str, str], open_names: frozenset[str] = frozenset()):
        self._aliases, self._open = aliases, open_names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id not in self._aliases or node.id in self._open:
            return node
        inner = _Expander(self._aliases, self._open | {node.id})
        body = ast.parse(self._aliases[node.id], mode="eval").body
        found: ast.expr = inner.visit(body)
        return found


@lru_cache(maxsize=1024)
def _parse(annotation: str) -> ast.expr:
    return ast.parse(annotation, mode="eval").body


def _accepts(node: ast.expr, value: object) -> bool | None:
    """True, False, or None when the annotation is not understood."""
    match node:
        case ast.Constant(value=None):
            return value is None
        case ast.Constant(value=str() as quoted):
            return _accepts(_parse(quoted), value)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            either = (_accepts(left, value), _accepts(right, value))
            return True if True in either else None if None in either else False
        case ast.Name(id=name):
            return _accepts_name(name, value)
        case ast.Subscript(value=ast.Name(id=name), slice=inner):
            return _accepts_generic(name, inner, value)
        case _:
            return None


def _accepts_name(name: str, value: object) -> bool | None:
    if name in _LISTS:
        return isinstance(value, list)
    if name in _MAPPINGS:
        return isinstance(value, dict)
    if name not in _SCALARS:
        return True if name == "Any" else None
    if isinstance(value, bool) or value is None:
        return name == "bool" and value is not None
    if name == "float":
        return isinstance(value, int | float)
    return isinstance(value, _SCALARS[name])


def _accepts_generic(name: str, inner: ast.expr, value: object) -> bool | None:
    if name == "Literal":
        return any(type(value) is type(word) and value == word for word in _words(inner))
    if name in _LISTS:
        return isinstance(value, list) and all(_accepts(inner, item) is not False for item in value)
    if name in _MAPPINGS and isinstance(inner, ast.Tuple) and len(inner.elts) == 2:
        of_key, of_item = inner.elts
        return isinstance(value, dict) and all(
            _accepts(of_key, key) is not False and _accepts(of_item, item) is not False
            for key, item in value.items()
        )
    if name == "Optional":
        return value is None or _accepts(inner, value)
    return None


def _words(inner: ast.expr) -> list[object]:
    """The words of a Literal; a Literal inside a Literal counts with its own."""
    words: list[object] = []
    for item in inner.elts if isinstance(inner, ast.Tuple) else [inner]:
        if isinstance(item, ast.Constant):
            words.append(item.value)
        elif isinstance(item, ast.Subscript):
            words += _words(item.slice)
    return words


def _literals(node: ast.expr) -> list[object]:
    match node:
        case ast.BinOp(left=left, right=right):
            return _literals(left) + _literals(right)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inner):
            return _words(inner)
        case _:
            return []
