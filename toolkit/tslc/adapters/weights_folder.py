"""Reads what a Hugging Face weights folder says of itself; loads no weights."""

from __future__ import annotations

import json
from pathlib import Path

from tslc.domain.memory import WeightsFacts, read_architecture
from tslc.errors import BadInput

CONFIG = "config.json"
INDEX = "model.safetensors.index.json"


def read_weights_facts(folder: Path) -> WeightsFacts:
    """The architecture of config.json and the bytes of the safetensors files.

    Without such files the index's own `total_size` counts. Raises BadInput when the folder, or a
    config.json in it, is not there or not readable.
    """
    config = _read_json(folder / CONFIG)
    return WeightsFacts(read_architecture(config), _total_bytes(folder), name=folder.name)


def _total_bytes(folder: Path) -> int | None:
    files = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    if files:
        return files
    if not (folder / INDEX).is_file():
        return None
    metadata = _read_json(folder / INDEX).get("metadata")
    total = metadata.get("total_size") if isinstance(metadata, dict) else None
    return total if isinstance(total, int) and total > 0 else None


def _read_json(path: Path) -> dict[str, object]:
    hint = "name a folder that holds config.json and the safetensors files"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"can't read {path}: {error.strerror or error}", hint=hint) from None
    except ValueError as error:
        raise BadInput(f"{path} is not JSON: {error}", hint=hint) from None
    if not isinstance(content, dict):
        raise BadInput(f"{path} is not a JSON object", hint=hint)
    return content
