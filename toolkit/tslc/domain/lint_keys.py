"""Keys and values: unknown ones, wrong types, values out of range."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tslc.domain.annotations import choices, fits, human_number
from tslc.domain.config_keys import (
    ENGINE_BOUNDS,
    GUARD,
    HANDLER,
    RAG,
    RETRIEVER,
    TORCHRUN,
    TORCHSERVE,
    Key,
)
from tslc.domain.engine_fields import EngineField, EngineFields
from tslc.domain.lint_config import ENGINE, LintedConfig
from tslc.domain.lint_rules import Finding
from tslc.domain.marked_yaml import Node
from tslc.domain.vocabulary import nearest


def check_keys(config: LintedConfig, engine: EngineFields | None) -> Iterator[Finding]:
    yield from _section(config, (), TORCHSERVE, "a key of TorchServe's model config")
    yield from _section(config, ("torchrun",), TORCHRUN, "a key of TorchServe's torchrun section")
    yield from _section(config, ("handler",), HANDLER, "a key of the handler")
    yield from _section(config, ("handler", "rag"), RAG, "a key of the handler's retrieval")
    yield from _section(config, ("handler", "rag", "retriever"), RETRIEVER, "a key of a retriever")
    yield from _section(config, ("handler", "guard"), GUARD, "a key of the handler's guard")
    if engine is not None:
        yield from _engine(config, engine)


def _section(
    config: LintedConfig, path: tuple[str, ...], keys: Mapping[str, Key], kind: str
) -> Iterator[Finding]:
    section = config.root.at(*path)
    for name, node in (section.fields if section else {}).items():
        here = (*path, name)
        key = keys.get(name)
        if key is None:
            yield _unknown(config, here, name, keys, kind)
        elif not fits(key.annotation, _folded(node.value, key, path)):
            yield _wrong(config, here, node, key.annotation)
        else:
            yield from _bounds(config, here, node, key.least, key.most)


def _folded(value: object, key: Key, path: tuple[str, ...]) -> object:
    """TorchServe reads its words in any case, and an empty one as none."""
    if path or not isinstance(value, str) or not choices(key.annotation):
        return value
    return value.lower() or choices(key.annotation)[0]


def _engine(config: LintedConfig, engine: EngineFields) -> Iterator[Finding]:
    section = config.root.at(*ENGINE)
    kind = f"an engine argument of vLLM {engine.vllm_version}"
    for written, node in (section.fields if section else {}).items():
        here = (*ENGINE, written)
        name = written.replace("-", "_")
        field = engine.get(name)
        if field is None:
            yield _unknown(config, here, name, engine.fields, kind)
        elif not _fits_engine(field, node.value):
            yield _wrong(config, here, node, field.annotation)
        else:
            yield from _bounds(config, here, node, *ENGINE_BOUNDS.get(name, (None, None)))


def _fits_engine(field: EngineField, value: object) -> bool:
    """The handler reads a text as vLLM's command line would: `16k`, JSON; null is the default."""
    if value is None or fits(field.annotation, value):
        return True
    if not isinstance(value, str):
        return False
    number = human_number(value)
    if number is not None and fits(field.annotation, number):
        return True
    return value.strip().startswith("{") and fits(field.annotation, {})


def _unknown(
    config: LintedConfig,
    path: tuple[str, ...],
    name: str,
    known: Mapping[str, object],
    kind: str,
) -> Finding:
    near = nearest(name, known)
    elsewhere = _home(config, path, name)
    if elsewhere:
        fix = f"move it to {elsewhere}"
    elif near:
        fix = f"write {near}, or remove the key"
    else:
        fix = "remove the key"
    return config.found("unknown-key", path, f"{name} is not {kind}", fix=fix)


def _home(config: LintedConfig, path: tuple[str, ...], name: str) -> str | None:
    """The section a key belongs to when it is known, but not where it stands."""
    if name in TORCHSERVE and len(path) > 1:
        return "the top level"
    if name in HANDLER and path[:-1] != ("handler",):
        return "handler"
    return None


def _wrong(config: LintedConfig, path: tuple[str, ...], node: Node, annotation: str) -> Finding:
    words = [word for word in choices(annotation) if isinstance(word, str | int)]
    value = node.value
    if words and isinstance(value, str):
        listed = ", ".join(str(word) for word in words[:20])
        near = nearest(value, [str(word) for word in words])
        fix = f"write {near}" if near else f"write one of: {listed}"
        return config.found("bad-value", path, f"{shown(value)} is not one of: {listed}", fix=fix)
    inside = _inside(value, annotation)
    problem = f"{inside or shown(value)} is not {plain_type(annotation)}"
    return config.found("wrong-type", path, problem, fix=_type_fix(path[-1], value, annotation))


def _inside(value: object, annotation: str) -> str | None:
    """What in a mapping or list is wrong, where the outer type is right."""
    if isinstance(value, dict) and fits(annotation, {}):
        wrong = [k for k, v in value.items() if not fits(annotation, {k: v})]
        return f"{{{wrong[0]}: {shown(value[wrong[0]])}}}" if wrong else None
    if isinstance(value, list) and fits(annotation, []):
        wrong_items = [item for item in value if not fits(annotation, [item])]
        return f"[{shown(wrong_items[0])}]" if wrong_items else None
    return None


def _type_fix(name: str, value: object, annotation: str) -> str:
    if isinstance(value, str):
        unquoted = value.strip().lower()
        if unquoted in ("true", "false", "yes", "no") and fits(annotation, True):
            return f"write {name}: {'true' if unquoted in ('true', 'yes') else 'false'}, no quotes"
        if human_number(value) is not None and fits(annotation, 1):
            return f"write {name}: {human_number(value)}, without quotes"
    if isinstance(value, dict) and fits(annotation, {}):
        return 'put the values in quotes: {NAME: "1"}'
    scalar = isinstance(value, bool | int | float)
    if scalar and fits(annotation, "x"):
        return f'put it in quotes: {name}: "{shown(value)}"'
    if isinstance(value, float) and value.is_integer() and fits(annotation, int(value)):
        return f"write {name}: {int(value)}"
    return f"write {plain_type(annotation)}"


def _bounds(
    config: LintedConfig,
    path: tuple[str, ...],
    node: Node,
    least: float | None,
    most: float | None,
) -> Iterator[Finding]:
    value = human_number(node.value) if isinstance(node.value, str) else node.value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if least is not None and not value >= least:
        fix = f"write {least:g} or more"
        yield config.found("bad-value", path, f"{shown(value)} is under {least:g}", fix=fix)
    elif most is not None and not value <= most:
        fix = f"write {most:g} or less"
        yield config.found("bad-value", path, f"{shown(value)} is over {most:g}", fix=fix)


def shown(value: object) -> str:
    """A value in a message, never longer than a line."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int():
            return str(value) if abs(value) < 10**30 else "a very large number"
        case str():
            return repr(value if len(value) <= 40 else value[:37] + "…")
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case _:
            return str(value)[:40]


def plain_type(annotation: str) -> str:
    """`a whole number` for `int`, and so on; the annotation itself when it says more."""
    bare = annotation.replace(" | None", "")
    words = {
        "int": "a whole number",
        "float": "a number",
        "bool": "true or false",
        "str": "a text",
        "dict[str, Any]": "a mapping",
        "dict[str, str]": "a mapping of texts to texts",
        "list[int]": "a list of whole numbers",
        "list[str]": "a list of texts",
        "str | list[str]": "a text or a list of texts",
    }
    if bare in words:
        return words[bare]
    named = choices(bare)
    return f"one of {', '.join(map(str, named[:20]))}" if named else bare
