"""What the machine has: its processor, its limits, its disks, its processes."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import shutil
from collections.abc import Iterable
from pathlib import Path

import psutil

from tslc.domain.doctor.cpu import CpuFacts
from tslc.domain.doctor.disk import Folder
from tslc.domain.doctor.leftovers import LeftoverFacts, ProcessSeen
from tslc.domain.doctor.limits import SharedMemory
from tslc.domain.node import NODE_MARK

_SHM = Path("/dev/shm")  # noqa: S108 - looked at, not used


def cpu_facts(*, engine_on_cpu: bool) -> CpuFacts:
    flags: frozenset[str] = frozenset()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "flags":
                flags = frozenset(value.split())
                break
    return CpuFacts(platform.machine(), os.cpu_count() or 1, engine_on_cpu, flags)


def hard_file_limit() -> int | None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if hard == resource.RLIM_INFINITY else hard


def shared_memory(gpus: int) -> SharedMemory:
    try:
        found = shutil.disk_usage(_SHM)
    except OSError:
        return SharedMemory(None, gpus=gpus)
    return SharedMemory(found.total, found.free, gpus)


def disk_of(what: str, path: Path) -> Folder:
    """Of the file system that a folder lies on, or would when it is made. Raises OSError."""
    there = next(one for one in (path, *path.absolute().parents) if one.exists())
    found = shutil.disk_usage(there)
    return Folder(what, str(path), found.free, found.total)


def cached_sizes(cache: Path, digests: Iterable[str]) -> dict[str, int]:
    """The sizes of contents that are in the cache, by 64 hex digits; makes no folder."""
    found = {}
    for sha256 in digests:
        with contextlib.suppress(OSError):
            found[sha256] = (cache / "sha256" / sha256).stat().st_size
    return found


def leftover_facts(home: Path) -> LeftoverFacts:
    """Every process this user may look into, and the nodes below `home` by their folder."""
    nodes = {str(folder): folder.name for folder in (home / "nodes").glob("*") if folder.is_dir()}
    seen = (_seen(process, nodes) for process in psutil.process_iter())
    return LeftoverFacts(tuple(one for one in seen if one is not None), nodes)


def _seen(process: psutil.Process, nodes: Iterable[str]) -> ProcessSeen | None:
    with contextlib.suppress(psutil.Error, OSError):
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        # vLLM's title is one string with a zero at its end, and blanks are part of it.
        title = " ".join(process.cmdline()).strip("\0 ")
        return ProcessSeen(
            process.pid,
            process.ppid(),
            title,
            node=_node_of(process, nodes),
            memory=int(process.memory_info().rss),
            program=_program_of(process),
        )
    return None


def _program_of(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error, OSError):
        return Path(process.exe().removesuffix(" (deleted)")).name
    return ""


def _node_of(process: psutil.Process, nodes: Iterable[str]) -> str | None:
    """A process that gave itself a title wrote over its environment: it stands in the node then."""
    with contextlib.suppress(psutil.Error, OSError):
        if mark := process.environ().get(NODE_MARK):
            return mark
        place = Path(process.cwd().removesuffix(" (deleted)"))
        return next((node for node in nodes if place.is_relative_to(Path(node, "tmp"))), None)
    return None
