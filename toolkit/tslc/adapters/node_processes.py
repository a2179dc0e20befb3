"""The processes of a node: TorchServe, its workers, and whatever those started."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import psutil
from psutil import Process

from tslc.adapters.clock import wait_until
from tslc.domain.node import NODE_MARK, NodePaths
from tslc.domain.torchserve_command import SERVER_CLASS

_WORKER = "model_service_worker.py"

__all__ = [
    "Process",
    "end",
    "family",
    "has_mark",
    "is_alive",
    "kill",
    "marked_processes",
    "name_of",
    "node_processes",
    "server_process",
    "started_at",
    "version_workers",
    "wait_gone",
]


def server_process(pid: int | None, created: float | None) -> Process | None:
    """TorchServe's process, if it still is that one and no zombie."""
    if pid is None:
        return None
    with contextlib.suppress(psutil.Error):
        process = Process(pid)
        # The kernel counts from boot, and what it says of the time of boot may drift a little.
        same = created is None or abs(process.create_time() - created) < 2
        alive = process.status() != psutil.STATUS_ZOMBIE
        return process if same and alive and SERVER_CLASS in process.cmdline() else None
    return None


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie doesn't."""
    with contextlib.suppress(psutil.Error):
        return bool(Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


def started_at(pid: int) -> float | None:
    """When a process that runs was started, in seconds since the epoch; None for one that doesn't.

    The kernel counts from boot, and what it says of the time of boot may drift by a little.
    """
    with contextlib.suppress(psutil.Error):
        process = Process(pid)
        if process.status() != psutil.STATUS_ZOMBIE:
            return float(process.create_time())
    return None


def node_processes(paths: NodePaths) -> tuple[Process, ...]:
    """Every process that the node started, by the mark in its environment.

    This process and those above it are never among them: whoever asks must survive the answer.
    """
    spared = _own_line()
    return tuple(
        process
        for process in psutil.process_iter()
        if process.pid not in spared and _is_marked(process, paths)
    )


def marked_processes(variable: str, value: Path) -> tuple[Process, ...]:
    """Every process with that variable in its environment, but this one and those above it."""
    spared = _own_line()
    return tuple(
        process
        for process in psutil.process_iter()
        if process.pid not in spared and has_mark(process, variable, value)
    )


def has_mark(process: Process, variable: str, value: Path) -> bool:
    """Whether a process that runs has that variable in its environment."""
    with contextlib.suppress(psutil.Error, OSError):
        if process.status() != psutil.STATUS_ZOMBIE:
            return process.environ().get(variable) == str(value)
    return False


def version_workers(paths: NodePaths, model: str, version: str) -> tuple[Process, ...]:
    """TorchServe's worker processes of a version, whoever remembers them: by the archive they run
    in."""
    return tuple(
        process for process in node_processes(paths) if _archive_of(process) == (model, version)
    )


def _archive_of(process: Process) -> tuple[str, str] | None:
    with contextlib.suppress(psutil.Error, OSError, ValueError, LookupError, TypeError):
        if any(word.endswith(_WORKER) for word in process.cmdline()):
            about = json.loads(Path(process.cwd(), "MAR-INF", "MANIFEST.json").read_bytes())[
                "model"
            ]
            return str(about["modelName"]), str(about["modelVersion"])
    return None


def _own_line() -> frozenset[int]:
    """This process and its ancestors."""
    found = {os.getpid()}
    with contextlib.suppress(psutil.Error):
        found |= {process.pid for process in Process().parents()}
    return frozenset(found)


def _is_marked(process: Process, paths: NodePaths) -> bool:
    with contextlib.suppress(psutil.Error, OSError):
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        environment = process.environ()
        return environment.get(NODE_MARK) == paths.mark or (
            "PATH" not in environment and _is_worker_below(process, paths.tmp)
        )
    return False


def _is_worker_below(process: Process, folder: Path) -> bool:
    """Whether a process that wrote over its environment, to rename itself, is a worker's.

    A person's shell may stand in the folder, too: only the node's own Python counts.
    """
    place = process.cwd().removesuffix(" (deleted)")
    own = Path(process.exe()) == Path(sys.executable).resolve()
    return own and Path(place).is_relative_to(folder)


def family(pids: Iterable[int]) -> tuple[Process, ...]:
    """The processes and all their descendants, as they are now."""
    found: dict[int, Process] = {}
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            process = Process(pid)
            for one in (process, *process.children(recursive=True)):
                found.setdefault(one.pid, one)
    return tuple(found.values())


def wait_gone(processes: Iterable[Process], seconds: float) -> tuple[Process, ...]:
    """Wait for their end; those that are left."""
    watched = tuple(processes)
    wait_until(lambda: not any(_runs(process) for process in watched), seconds)
    return tuple(process for process in watched if _runs(process))


def end(processes: Iterable[Process], grace: float) -> tuple[Process, ...]:
    """Ask politely, wait, insist. Those that are left even so: only the kernel can hold one."""
    watched = tuple(processes)
    for process in watched:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    return kill(wait_gone(watched, grace))


def kill(processes: Iterable[Process]) -> tuple[Process, ...]:
    """Kill at once. Those that are left even so: only the kernel can hold one."""
    left = tuple(processes)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    return wait_gone(left, 5.0)


def name_of(process: Process) -> str:
    """`name (pid)`, or the pid alone when the process is gone."""
    with contextlib.suppress(psutil.Error):
        return f"{process.name()} ({process.pid})"
    return str(process.pid)


def _runs(process: Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
