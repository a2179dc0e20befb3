"""Whether a folder holds weights that can be served: a config.json and whole safetensors files.

Pickled weights are not taken: loading them runs code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tslc.domain.manifest import path_problem
from tslc.domain.memory import WeightsFacts, read_architecture
from tslc.errors import Mistake

CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
_LFS_POINTER = b"version "


@dataclass(frozen=True)
class WeightsFolder:
    """What a weights folder looks like: sizes in bytes by path, hidden files left out.

    `config` and `index` are the bytes of config.json and of the shards' index; `heads` the first
    8 bytes of each safetensors file.
    """

    sizes: Mapping[str, int]
    heads: Mapping[str, bytes]
    config: bytes | None
    index: bytes | None

    @property
    def size(self) -> int:
        return sum(self.sizes.values())

    @property
    def loaded(self) -> frozenset[str]:
        """The safetensors files an engine loads: those of the index, or all beside config.json.

        Repositories may hold the weights a second time, as consolidated*.safetensors.
        """
        if self.index is not None:
            return frozenset(_shards(self.index) or ()) & frozenset(self.heads)
        top = frozenset(path for path in self.heads if "/" not in path)
        return frozenset(path for path in top if not path.startswith("consolidated")) or top


def weights_mistakes(folder: WeightsFolder, where: str) -> tuple[Mistake, ...]:
    """Everything that keeps a folder from being served."""
    return tuple(_mistakes(folder, where))


def weights_facts(folder: WeightsFolder, name: str) -> WeightsFacts:
    """What can be computed with; without the files the index's own `total_size` counts."""
    config = _json(folder.config or b"")
    size = sum(folder.sizes[path] for path in folder.loaded)
    if not size and folder.index is not None:
        match _json(folder.index):
            case {"metadata": {"total_size": int(total)}}:
                size = total
    return WeightsFacts(
        architecture=read_architecture(config) if isinstance(config, dict) else None,
        file_bytes=size if size > 0 else None,
        name=name,
    )


def config_mistakes(folder: WeightsFolder, where: str) -> Iterator[Mistake]:
    """What keeps a folder from saying of what form its weights are."""
    if folder.config is None:
        yield Mistake(where, f"no {CONFIG} in the folder", "name a Hugging Face model folder")
    elif not isinstance(_json(folder.config), dict):
        yield Mistake(where, f"{CONFIG} is not a JSON object", "fetch the model again")


def _mistakes(folder: WeightsFolder, where: str) -> Iterator[Mistake]:
    yield from config_mistakes(folder, where)
    for path in sorted(folder.sizes):
        if problem := path_problem(path):
            fix = "rename it, or move it out of the folder"
            yield Mistake(where, f"a file {path!r}: {problem}", fix)
    if not folder.heads:
        fix = "convert the weights to safetensors (save_pretrained does)"
        yield Mistake(where, "no .safetensors file in the folder", fix)
    for path, head in sorted(folder.heads.items()):
        if head == _LFS_POINTER:
            fix = "fetch the file itself (`git lfs pull`)"
            yield Mistake(where, f"{path} is a Git LFS pointer, not weights", fix)
        elif len(head) < 8 or 8 + int.from_bytes(head, "little") > folder.sizes[path]:
            yield Mistake(where, f"{path} is cut short or no safetensors file", "fetch it again")
    if folder.index is not None:
        yield from _missing_shards(folder, where)


def _missing_shards(folder: WeightsFolder, where: str) -> Iterator[Mistake]:
    shards = _shards(folder.index or b"")
    if shards is None:
        yield Mistake(where, f"{INDEX} is not an index of shards", "fetch it again")
    for shard in sorted((shards or set()) - set(folder.sizes)):
        yield Mistake(where, f"{INDEX} names {shard}, which is missing", "fetch it again")


def _shards(index: bytes) -> set[str] | None:
    match _json(index):
        case {"weight_map": dict(shard_of)}:
            return {str(shard) for shard in shard_of.values()}
        case _:
            return None


def _json(content: bytes) -> object:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None
