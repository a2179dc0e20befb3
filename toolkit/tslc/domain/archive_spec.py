"""What archive.yaml says, and everything that is wrong with it at once.

Decides what a spec means; it looks at no file. Unknown keys are mistakes that name the nearest
valid one, and what can be read is kept beside the mistakes (`SpecDraft`), so that the files it
names can be checked in the same go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TypeVar

import yaml

from tslc.domain.archive_name import model_name_problem
from tslc.domain.archive_sections import RagSpec, read_guard, read_rag
from tslc.domain.config_keys import TORCHSERVE
from tslc.domain.marked_yaml import Node, YamlProblem, compose_yaml, read_node
from tslc.domain.vocabulary import nearest, unknown_word
from tslc.errors import Mistake

SPEC_NAME = "archive.yaml"
STOCK_HANDLER = "vllm"
STOCK_HANDLERS = {
    STOCK_HANDLER: "VLLMHandler",
    "rag": "RagVLLMHandler",
    "guard": "GuardVLLMHandler",
    "rag-guard": "RagGuardVLLMHandler",
}
"""Handlers that need no file, and the classes they are."""
KEYS = (
    "model",
    "handler",
    "model_config",
    "weights",
    "golden",
    "rag",
    "guard",
    "extra_files",
    "requirements",
)
_REQUIRED = {
    "model": "write `model: NAME`",
    "handler": f"write `handler: {STOCK_HANDLER}`, or name a Python file",
    "model_config": "write `model_config: FILE`, a TorchServe model config",
    "golden": "write `golden: golden.jsonl`; no version ships without golden prompts",
}
_HUB = re.compile(
    r"hf:(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)@(?P<revision>[\w][\w./-]*)", re.ASCII
)
_VARIABLE = re.compile(r"\$(?:\{(?P<braced>[^}]*)\}|(?P<bare>[A-Za-z_][A-Za-z0-9_]*))")

Report = Callable[[Mistake], None]
_Section = TypeVar("_Section")


@dataclass(frozen=True)
class LocalWeights:
    """A folder, `~` and variables expanded; relative to the spec's folder."""

    folder: str


@dataclass(frozen=True)
class HubWeights:
    """`hf:org/name@revision` of the Hugging Face hub."""

    repo: str
    revision: str

    def __str__(self) -> str:
        return f"hf:{self.repo}@{self.revision}"


@dataclass(frozen=True)
class ArchiveSpec:
    """One archive.yaml; paths are relative to the folder it lies in.

    In a draft, a text that could not be read is empty.
    """

    model: str = ""
    handler: str = ""
    model_config: str = ""
    golden: str = ""
    weights: LocalWeights | HubWeights | None = None
    rag: RagSpec | None = None
    guard: LocalWeights | HubWeights | None = None
    """The guard model's weights."""
    extra_files: tuple[str, ...] = ()
    requirements: str | None = None
    names_weights: bool = False
    """True also for weights that could not be read, as with a variable that is not set."""
    lines: Mapping[str, int] = field(default_factory=dict)

    @property
    def stock(self) -> bool:
        """True when the handler is one of tslc_handlers' own."""
        return self.handler in STOCK_HANDLERS

    def where(self, key: str) -> str:
        """`line 4, weights`: where a key stands in the file."""
        line = self.lines.get(key)
        return f"line {line}, {key}" if line else key


@dataclass(frozen=True)
class SpecDraft:
    spec: ArchiveSpec
    mistakes: tuple[Mistake, ...]


def is_spec(text: str) -> bool:
    """Whether a YAML file is a spec rather than a model config, by the keys it has."""
    try:
        root = compose_yaml(text)
    except YamlProblem:
        return False
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    keys = {str(key.value) for key, _ in pairs} - {"handler"}
    return len(keys & set(KEYS)) > len(keys & set(TORCHSERVE))


def draft_spec(text: str, environment: Mapping[str, str]) -> SpecDraft:
    """What can be read of archive.yaml, and all that is wrong with it."""
    mistakes: list[Mistake] = []
    nodes = _top_level(text, mistakes.append)
    if nodes is None:
        return SpecDraft(ArchiveSpec(), tuple(mistakes))
    spec = ArchiveSpec(lines={key: node.start_mark.line + 1 for key, node in nodes.items()})
    for key in nodes:
        if key not in KEYS:
            unknown = unknown_word(spec.where(key), key, KEYS)
            mistakes.append(replace(unknown, line=spec.lines[key]))
    mistakes += [Mistake(key, "missing", fix) for key, fix in _REQUIRED.items() if key not in nodes]
    for key, node in nodes.items():
        if key in KEYS:
            found: list[Mistake] = []
            spec = _read_key(spec, key, node, environment, found.append)
            mistakes += [replace(mistake, line=spec.lines[key]) for mistake in found]
    return SpecDraft(spec, tuple(mistakes))


def _top_level(text: str, report: Report) -> dict[str, yaml.Node] | None:
    try:
        root = compose_yaml(text)
    except YamlProblem as error:
        fix = "mend the YAML; one `key: value` a line"
        report(Mistake(f"line {error.line}", error.problem, fix, error.line))
        return None
    if not isinstance(root, yaml.MappingNode):
        report(Mistake("the file", "not a mapping of keys", f"start with `{KEYS[0]}: NAME`"))
        return None
    nodes: dict[str, yaml.Node] = {}
    for key_node, value in root.value:
        key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "?"
        if key in nodes:
            line = key_node.start_mark.line + 1
            report(Mistake(f"line {line}, {key}", "said twice", "keep one of the two", line))
        nodes[key] = value
    return nodes


def _read_key(
    spec: ArchiveSpec,
    key: str,
    node: yaml.Node,
    environment: Mapping[str, str],
    report: Report,
) -> ArchiveSpec:
    where = spec.where(key)
    match key:
        case "extra_files":
            return replace(spec, extra_files=_read_paths(where, node, report))
        case "weights" if _is_null(node):
            return spec
        case "weights":
            said = _read_text(where, node, "hf:org/name@revision, or a folder", report)
            weights = read_weights(said, where, environment, report) if said else None
            return replace(spec, weights=weights, names_weights=True)
        case "rag":
            return replace(spec, rag=_read_section(read_rag, where, node, report))
        case "guard":
            said = _read_section(read_guard, where, node, report)
            guard = read_weights(said, f"{where}, model", environment, report) if said else None
            return replace(spec, guard=guard)
        case "requirements":
            if not _is_null(node):
                path = _read_path(where, node, "requirements.txt", report)
                return replace(spec, requirements=path or None)
            return spec
        case "model":
            model = _read_text(where, node, "a name", report)
            if model and (problem := model_name_problem(model)):
                report(Mistake(where, problem, "rename the model"))
                model = ""
            return replace(spec, model=model)
        case "handler":
            return replace(spec, handler=_read_handler(where, node, report))
        case "model_config":
            return replace(spec, model_config=_read_path(where, node, "a YAML file", report))
        case _:
            return replace(spec, golden=_read_path(where, node, "golden.jsonl", report))


def _read_section(
    read: Callable[[str, Node, Report], _Section], where: str, node: yaml.Node, report: Report
) -> _Section:
    try:
        found, duplicates = read_node(node)
    except YamlProblem as error:
        report(Mistake(where, error.problem, "put it in quotes", error.line))
        found, duplicates = Node({}, node.start_mark.line + 1), ()
    for twice in duplicates:
        name = ".".join(twice.path)
        report(Mistake(where, f"{name} is said twice", "keep one of the two", twice.line))
    return read(where, found, report)


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _read_text(where: str, node: yaml.Node, wanted: str, report: Report) -> str:
    if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:str" and node.value:
        return str(node.value)
    kind = "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
    said = f"{node.value!r}" if isinstance(node, yaml.ScalarNode) else kind
    fix = f"write {wanted}, as text"
    if isinstance(node, yaml.ScalarNode) and node.value and not _is_null(node):
        fix = f'put it in quotes: "{node.value}"'
    report(Mistake(where, f"{said} is not a text", fix))
    return ""


def _read_path(where: str, node: yaml.Node, wanted: str, report: Report) -> str:
    path = _read_text(where, node, wanted, report)
    if "\0" in path:
        report(Mistake(where, "a path with a NUL character", f"write {wanted}"))
        return ""
    return path


def _read_paths(where: str, node: yaml.Node, report: Report) -> tuple[str, ...]:
    if _is_null(node):
        return ()
    if not isinstance(node, yaml.SequenceNode):
        report(Mistake(where, "not a list of files and folders", "write [FILE, FOLDER]"))
        return ()
    said = (
        _read_path(f"{where}[{i}]", item, "a path", report) for i, item in enumerate(node.value)
    )
    return tuple(path for path in said if path)


def _read_handler(where: str, node: yaml.Node, report: Report) -> str:
    known = ", ".join(STOCK_HANDLERS)
    handler = _read_text(where, node, f"one of {known}, or a Python file", report)
    if not handler or handler in STOCK_HANDLERS:
        return handler
    if PurePosixPath(handler).suffix != ".py":
        near = nearest(handler, STOCK_HANDLERS)
        fix = f"write `{near}`" if near else f"write one of {known}, or the name of a .py file"
        report(Mistake(where, f"{handler!r} is neither a handler of tslc's nor a .py file", fix))
        return ""
    return handler


def read_weights(
    said: str, where: str, environment: Mapping[str, str], report: Report
) -> LocalWeights | HubWeights | None:
    """Where weights come from: `hf:org/name@revision`, or a folder with variables expanded."""
    if said.startswith("hf:"):
        if found := _HUB.fullmatch(said):
            return HubWeights(found["repo"], found["revision"])
        fix = "write hf:org/name@revision; the revision is a commit, a tag or a branch"
        report(Mistake(where, f"{said!r} names no repository and revision", fix))
        return None
    missing: list[str] = []

    def value(found: re.Match[str]) -> str:
        name = found["braced"] or found["bare"] or ""
        if not environment.get(name):
            missing.append(name)
        return environment.get(name, "")

    folder = _VARIABLE.sub(value, said)
    for name in missing:
        fix = f"export {name}=FOLDER, or write the folder itself"
        report(Mistake(where, f"the environment has no {name or 'such variable'}", fix))
    if missing:
        return None
    home = environment.get("HOME")
    if home and (folder == "~" or folder.startswith("~/")):
        folder = home + folder[1:]
    return LocalWeights(folder)
