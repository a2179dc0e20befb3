"""The memory of this machine, or of the container this process is in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

import psutil

from tslc.adapters.node_processes import family

_CGROUP = Path("/sys/fs/cgroup")


def free_memory() -> int:
    """Bytes that can be had without swapping."""
    free = int(psutil.virtual_memory().available)
    limit = _limit()
    used = _number("memory.current")
    if limit is None or used is None:
        return free
    return min(free, max(0, limit - used + (_inactive_file() or 0)))


def total_memory() -> int:
    """Bytes."""
    total = int(psutil.virtual_memory().total)
    limit = _limit()
    return total if limit is None else min(total, limit)


def held_memory(pids: Iterable[int]) -> int:
    """Bytes the processes and all they started hold; what they share is counted once."""
    held = 0
    for process in family(pids):
        with contextlib.suppress(psutil.Error):
            held += int(process.memory_full_info().pss)
    return held


def _limit() -> int | None:
    """Of the control group (version 2); None where there is none."""
    return _number("memory.max")


def _number(name: str) -> int | None:
    try:
        return int((_CGROUP / name).read_text())
    except (OSError, ValueError):
        return None


def _inactive_file() -> int | None:
    """The file cache that the kernel gives back when it is needed."""
    with contextlib.suppress(OSError, ValueError):
        for line in (_CGROUP / "memory.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "inactive_file":
                return int(value)
    return None
