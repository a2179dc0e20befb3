"""What differs between two versions, part by part: what changed, and what did not.

Parts are told apart by the names that an archive gives them. The two manifests inside an archive
are left out: they follow from the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import yaml

from tslc.domain.archive_contents import (
    GOLDEN_NAME,
    HANDLER_PACKAGE,
    MODEL_CONFIG_NAME,
    REQUIREMENTS_NAME,
)
from tslc.domain.manifest import MANIFEST_NAME, FileEntry
from tslc.domain.store_layout import ARCHIVE, WEIGHTS
from tslc.domain.store_manifest import StoreManifest

MODEL_CONFIG = ARCHIVE + MODEL_CONFIG_NAME
GOLDEN = ARCHIVE + GOLDEN_NAME
DOCUMENTS = ARCHIVE + "index/documents.json"
TEXTS = (MODEL_CONFIG, GOLDEN, DOCUMENTS)
"""Files whose contents `diff` compares, not only their digests."""
_LEFT_OUT = (ARCHIVE + MANIFEST_NAME, ARCHIVE + "MAR-INF/MANIFEST.json")


class Part(StrEnum):
    HANDLER = "handler code"
    CONFIG = "model config"
    WEIGHTS = "weights"
    INDEX = "retrieval index"
    GUARD = "guard policy"
    GOLDEN = "golden prompts"
    REQUIREMENTS = "requirements"
    OTHER = "other files"


@dataclass(frozen=True)
class Change:
    """`before` or `after` is None where the thing is not there."""

    what: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class PartDiff:
    """`same`: how many files, keys or prompts did not change."""

    part: Part
    changes: tuple[Change, ...]
    same: int

    @property
    def present(self) -> bool:
        return bool(self.changes or self.same)


def part_of(path: str) -> Part:
    """Which part of a version a file belongs to."""
    if path.startswith(WEIGHTS):
        return Part.WEIGHTS
    name = path.removeprefix(ARCHIVE)
    top = name.split("/")[0]
    if name == MODEL_CONFIG_NAME:
        return Part.CONFIG
    if name == GOLDEN_NAME:
        return Part.GOLDEN
    if name == REQUIREMENTS_NAME:
        return Part.REQUIREMENTS
    if top in ("index", "kb"):
        return Part.INDEX
    if top == HANDLER_PACKAGE or ("/" not in name and name.endswith(".py")):
        return Part.HANDLER
    if top.startswith("guard"):
        return Part.GUARD
    return Part.OTHER


def diff(
    one: StoreManifest,
    other: StoreManifest,
    texts: Callable[[StoreManifest, str], bytes | None],
) -> tuple[PartDiff, ...]:
    """Every part that either version has. `texts` gives the content of a file in TEXTS."""
    return tuple(found for part in Part if (found := _part(part, one, other, texts)).present)


def _part(
    part: Part,
    one: StoreManifest,
    other: StoreManifest,
    texts: Callable[[StoreManifest, str], bytes | None],
) -> PartDiff:
    match part:
        case Part.CONFIG:
            sides = [_settings(texts(side, MODEL_CONFIG)) for side in (one, other)]
        case Part.GOLDEN:
            sides = [_prompts(texts(side, GOLDEN)) for side in (one, other)]
        case Part.INDEX:
            sides = [_knowledge(side, texts(side, DOCUMENTS)) for side in (one, other)]
        case _:
            sides = [_files(side, part) for side in (one, other)]
    before, after = sides
    names = sorted({*before, *after})
    changes = tuple(
        Change(name, before.get(name), after.get(name))
        for name in names
        if before.get(name) != after.get(name)
    )
    return PartDiff(part, changes, len(names) - len(changes))


def _files(manifest: StoreManifest, part: Part) -> dict[str, str]:
    return {
        path.removeprefix(ARCHIVE).removeprefix(WEIGHTS): _shown(entry)
        for path, entry in manifest.files.items()
        if part_of(path) is part and path not in _LEFT_OUT
    }


def _knowledge(manifest: StoreManifest, listed: bytes | None) -> dict[str, str]:
    """The documents by path, and how they were cut and embedded; what follows from those is left
    out. An index that lists no documents is its files."""
    try:
        documents = json.loads(listed or b"")
        found = {
            str(path): f"sha256:{one['sha256']} ({one['passages']} passages)"
            for path, one in documents.items()
        }
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
        return _files(manifest, Part.INDEX)
    made = {
        path: shown
        for path, shown in _files(manifest, Part.INDEX).items()
        if path.startswith("index/embedding/") or path == "index/index.json"
    }
    return {**found, **made}


def _shown(entry: FileEntry) -> str:
    return f"sha256:{entry.sha256} ({entry.size} bytes)"


def _settings(text: bytes | None) -> dict[str, str]:
    """Each setting of a YAML file, by its dotted key; a text that is none, as one value."""
    if text is None:
        return {}
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return {"(the file)": text.decode("utf-8", "replace")}
    return dict(_flat("", document))


def _flat(key: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _flat(f"{key}.{name}" if key else str(name), inner)
    else:
        yield key or "(the file)", json.dumps(value, sort_keys=True, default=str)


def _prompts(text: bytes | None) -> dict[str, str]:
    """Each golden prompt by its name, as one line."""
    found: dict[str, str] = {}
    for number, line in enumerate((text or b"").decode("utf-8", "replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            prompt = json.loads(line)
        except (ValueError, RecursionError):
            prompt = line
        name = prompt.get("name") if isinstance(prompt, Mapping) else None
        found[str(name or f"line {number}")] = json.dumps(prompt, sort_keys=True)
    return found
