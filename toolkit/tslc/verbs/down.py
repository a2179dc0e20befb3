"""`tslc down`: stop the node and everything it started. Not running already is success."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tslc.adapters import node_folder, seaweedfs, torchserve_process
from tslc.adapters.node_processes import node_processes
from tslc.domain.node import NodePaths, node_paths

_SERVER_SECONDS = 20.0
_LEFTOVER_SECONDS = 5.0
_STORE_SECONDS = 1.0


@dataclass(frozen=True)
class Down:
    """`was_running`: TorchServe ran. `ended`: processes that outlived it and were ended.
    `store_ended`: the local store ran."""

    paths: NodePaths
    was_running: bool
    ended: tuple[str, ...] = ()
    plan: tuple[str, ...] = ()
    store_ended: bool = False


def down(
    home: Path,
    name: str,
    *,
    dry_run: bool = False,
    report: Callable[[str], None] = lambda _: None,
) -> Down:
    """Stop the node and its store; its run/ and tmp/ are emptied, all else stays.

    Raises RemoteFailed when a process won't end.
    """
    paths = node_paths(home, name)
    if dry_run or not node_folder.exists(paths):
        return _plan(paths) if dry_run else Down(paths, was_running=False)
    with node_folder.locked(paths):
        seaweedfs.ask_to_stop(paths)
        state = node_folder.read_state(paths)
        was_running = state is not None and torchserve_process.is_running(state.pid, state.created)
        if state is not None and was_running:
            report("stopping TorchServe and its workers")
            torchserve_process.stop(state.pid, state.created, _SERVER_SECONDS)
        # Also when it was not running: a TorchServe that was killed leaves its workers to us.
        grace = _LEFTOVER_SECONDS if was_running else 0.0
        ended = torchserve_process.end_leftovers(paths, grace)
        for folder in (paths.run, paths.tmp):
            node_folder.empty(folder)
        if state is not None:
            stopped = state.model_copy(update={"pid": None, "created": None})
            node_folder.write_state(paths, stopped)
        store_ended = seaweedfs.stop(paths, _STORE_SECONDS)
    return Down(paths, was_running, ended, store_ended=store_ended)


def _plan(paths: NodePaths) -> Down:
    state = node_folder.read_state(paths)
    running = state is not None and torchserve_process.is_running(state.pid, state.created)
    steps = [f"stop TorchServe, pid {state.pid}"] if state and running else []
    others = [p.pid for p in node_processes(paths) if state is None or p.pid != state.pid]
    steps += [f"end {len(others)} processes of the node: {others}"] if others else []
    if stores := [process.pid for process in seaweedfs.processes(paths)]:
        steps.append(f"stop the local store: {stores}")
    steps.append(f"empty {paths.run} and {paths.tmp}")
    return Down(paths, running, plan=tuple(steps))
