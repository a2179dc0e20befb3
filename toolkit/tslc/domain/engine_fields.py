"""Which arguments vLLM's engine takes, read from vLLM's source text.

Importing vLLM takes more than ten seconds and needs its whole environment; its argument classes
are plain dataclasses, so their source says it all. Decides nothing about values beyond what an
annotation says without doubt (annotations.py).
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from tslc.domain.annotations import expand

ENGINE_CLASS = "AsyncEngineArgs"


@dataclass(frozen=True)
class EngineField:
    """One engine argument. `annotation` has its aliases expanded; `default` is source text."""

    annotation: str
    default: str | None


@dataclass(frozen=True)
class EngineFields:
    """Every engine argument of one vLLM version; `installed` is False for the packaged list."""

    vllm_version: str
    fields: Mapping[str, EngineField]
    installed: bool = True

    def get(self, key: str) -> EngineField | None:
        return self.fields.get(key)


def engine_fields(source: str, *, version: str, aliases: Mapping[str, str]) -> EngineFields:
    """The fields of AsyncEngineArgs, inherited ones first, from the text of vLLM's arg_utils.py.

    `aliases` are the names annotations use (`literal_aliases` of the modules imported there).
    Fields that begin with an underscore are vLLM's own business and left out.
    Raises SyntaxError when `source` is not Python and LookupError when it has no such class.
    """
    classes = {n.name: n for n in ast.parse(source).body if isinstance(n, ast.ClassDef)}
    fields: dict[str, EngineField] = {}
    for body in _bodies(classes, ENGINE_CLASS):
        for statement in body:
            match statement:
                case ast.AnnAssign(target=ast.Name(id=name)) if not name.startswith("_"):
                    fields[name] = _field(statement, aliases)
    return EngineFields(version, fields)


def _bodies(classes: Mapping[str, ast.ClassDef], name: str) -> list[list[ast.stmt]]:
    """Bodies of the class and its bases in this module, the eldest first."""
    bases = [base.id for base in classes[name].bases if isinstance(base, ast.Name)]
    elder = [body for base in bases if base in classes for body in _bodies(classes, base)]
    return [*elder, classes[name].body]


def _field(statement: ast.AnnAssign, aliases: Mapping[str, str]) -> EngineField:
    annotation = statement.annotation
    text = (
        annotation.value
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str)
        else ast.unparse(annotation)
    )
    default = ast.unparse(statement.value) if statement.value else None
    return EngineField(expand(text, aliases), default)


def alias_modules(source: str) -> tuple[str, ...]:
    """The vLLM modules whose names arg_utils.py imports from, dotted, sorted."""
    found = {
        node.module
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vllm.config.")
    }
    return tuple(sorted(name for name in found if name))


def literal_aliases(sources: Iterable[str]) -> dict[str, str]:
    """`{"CacheDType": "Literal['auto', …]"}` for every module-level Literal in `sources`."""
    aliases: dict[str, str] = {}
    for source in sources:
        for statement in ast.parse(source).body:
            match statement:
                case (
                    ast.Assign(targets=[ast.Name(id=name)], value=ast.Subscript() as value)
                    | ast.AnnAssign(target=ast.Name(id=name), value=ast.Subscript() as value)
                ) if isinstance(value.value, ast.Name) and value.value.id == "Literal":
                    aliases[name] = ast.unparse(value)
    return aliases


def render_engine_fields(fields: EngineFields) -> str:
    """The packaged list as JSON text. Law: parse_engine_fields(render(f)) == f, not installed."""
    body = {name: asdict(field) for name, field in sorted(fields.fields.items())}
    return json.dumps({"vllm_version": fields.vllm_version, "fields": body}, indent=1) + "\n"


def parse_engine_fields(text: str) -> EngineFields:
    content = json.loads(text)
    fields = {name: EngineField(**field) for name, field in content["fields"].items()}
    return EngineFields(content["vllm_version"], fields, installed=False)
