"""The memory of this machine."""

from __future__ import annotations

import psutil


def free_memory() -> int:
    """Bytes that can be had without swapping."""
    return int(psutil.virtual_memory().available)
