"""Whether a folder holds weights that can be served: a config.json and whole safetensors files.

Pickled weights are not taken: loading them runs code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

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


def weights_mistakes(folder: WeightsFolder, where: str) -> tuple[Mistake, ...]:
    """Everything that keeps a folder from being served."""
    return tuple(_mistakes(folder, where))


def _mistakes(folder: WeightsFolder, where: str) -> Iterator[Mistake]:
    if folder.config is None:
        yield Mistake(where, f"no {CONFIG} in the folder", "name a Hugging Face model folder")
    elif not isinstance(_json(folder.config), dict):
        yield Mistake(where, f"{CONFIG} is not a JSON object", "fetch the model again")
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
    match _json(folder.index or b""):
        case {"weight_map": dict(shard_of)}:
            missing = sorted({str(shard) for shard in shard_of.values()} - set(folder.sizes))
            for shard in missing:
                yield Mistake(where, f"{INDEX} names {shard}, which is missing", "fetch it again")
        case _:
            yield Mistake(where, f"{INDEX} is not an index of shards", "fetch it again")


def _json(content: bytes) -> object:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None
