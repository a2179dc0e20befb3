"""`tslc down`: stop the node and everything it started. Not running already is success."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tslc.adapters import node_folder, program_runs, seaweedfs, supervisor, torchserve_process
from tslc.adapters.node_processes import node_processes
from tslc.domain.node import NodePaths, node_paths

_SERVER_SECONDS = 20.0
_LEFTOVER_SECONDS = 5.0
_STORE_SECONDS = 1.0


@dataclass(frozen=True)
class Down:
    """`was_running`: TorchServe ran, or was kept running. `ended`: processes that outlived it and
    were ended. `store_ended`: the local store ran."""

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
        run = torchserve_process.running(paths)
        was_running = run is not None or supervisor.is_running(paths)
        store_ran = bool(seaweedfs.processes(paths))
        if was_running:
            report("stopping TorchServe and its workers")
        supervisor.stop(paths)
        supervisor.end_programs(paths)
        # What follows is for a node whose supervisord was killed, or hangs.
        seaweedfs.ask_to_stop(paths)
        if run is not None:
            torchserve_process.stop(run.pid, run.created, _SERVER_SECONDS)
        # Also when it was not running: a TorchServe that was killed leaves its workers to us.
        grace = _LEFTOVER_SECONDS if was_running else 0.0
        ended = torchserve_process.end_leftovers(paths, grace)
        for folder in (paths.run, paths.tmp):
            node_folder.empty(folder)
        node_folder.write_stopped(paths)
        store_ended = seaweedfs.stop(paths, _STORE_SECONDS) or store_ran
        program_runs.forget_runs(paths)
    return Down(paths, was_running, ended, store_ended=store_ended)


def _plan(paths: NodePaths) -> Down:
    run = torchserve_process.running(paths)
    steps = [f"stop TorchServe, pid {run.pid}"] if run else []
    others = [p.pid for p in node_processes(paths) if run is None or p.pid != run.pid]
    steps += [f"end {len(others)} processes of the node: {others}"] if others else []
    if keepers := [process.pid for process in supervisor.processes(paths)]:
        steps.insert(0, f"stop supervisord, and what it runs by it: {keepers}")
    if stores := [process.pid for process in seaweedfs.processes(paths)]:
        steps.append(f"stop the local store: {stores}")
    steps.append(f"empty {paths.run} and {paths.tmp}")
    return Down(paths, run is not None, plan=tuple(steps))
