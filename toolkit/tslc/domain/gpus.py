"""What the hardware holds: known GPUs by name, and sizes written as people write them.

`memory` is what the driver reports as the card's total (nvidia-smi, rocm-smi), which is what the
engine's share is taken of; marketing figures in GB are larger or smaller by a few percent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MIB = 2**20
GIB = 2**30

# bytes a card; MiB as nvidia-smi prints them with ECC as delivered
GPUS: dict[str, int] = {
    "t4": 15_360 * MIB,
    "v100-16gb": 16_384 * MIB,
    "v100-32gb": 32_768 * MIB,
    "a10": 23_028 * MIB,
    "a10g": 23_028 * MIB,
    "l4": 23_034 * MIB,
    "rtx-4090": 24_564 * MIB,
    "a100-40gb": 40_960 * MIB,
    "l40s": 46_068 * MIB,
    "rtx-a6000": 49_140 * MIB,
    "h100": 81_559 * MIB,
    "a100-80gb": 81_920 * MIB,
    "h200": 143_771 * MIB,
    "b200": 183_359 * MIB,
    "mi300x": 206_141_652_992,
}

_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[KMGT]i?B?|B)?", re.IGNORECASE)
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}


@dataclass(frozen=True)
class Hardware:
    """`gpus` equal cards of `gpu_memory` bytes each; `name` for messages."""

    gpu_memory: int
    gpus: int
    name: str

    def __str__(self) -> str:
        cards = f"{self.gpus} × " if self.gpus != 1 else ""
        return f"{cards}{self.name} ({gib(self.gpu_memory)})"


def parse_size(text: str) -> int | None:
    """Bytes of `80GiB`, `80G` (both binary), `80GB` (decimal) or plain `1024`; None otherwise."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        return None
    unit = (found["unit"] or "B").lower()
    if unit == "b":
        return int(float(found["number"]))
    base = 1000 if unit.endswith("b") and "i" not in unit else 1024
    return int(float(found["number"]) * base ** _POWERS[unit[0]])


def gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"
