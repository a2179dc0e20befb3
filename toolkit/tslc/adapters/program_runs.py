"""Which process each program of a node is: supervisor/NAME.run.json, and whether it still runs."""

from __future__ import annotations

import contextlib
from pathlib import Path

from tslc.adapters.node_processes import started_at
from tslc.adapters.private_files import write_private
from tslc.domain.node import NodePaths
from tslc.domain.supervised import Program, ProgramRun, SupervisorPaths
from tslc.errors import BadFile


def read_programs(node: NodePaths) -> tuple[Program, ...]:
    """The programs the node was last started with. Raises BadFile."""
    paths = SupervisorPaths.of(node)
    found = sorted(one for one in paths.root.glob("*.json") if not one.name.endswith(".run.json"))
    return tuple(Program.parse(one.read_text("utf-8"), str(one)) for one in found)


def write_program(node: NodePaths, program: Program) -> None:
    write_private(SupervisorPaths.of(node).program(program.name), program.render())


def last_run(node: NodePaths, name: str) -> ProgramRun | None:
    """The process the program is, or was last; None when there is none, or a torn file."""
    return read_run(SupervisorPaths.of(node).run(name))


def running(node: NodePaths, name: str) -> ProgramRun | None:
    """The process the program is now."""
    run = last_run(node, name)
    return run if run and is_alive(run) else None


def read_run(path: Path) -> ProgramRun | None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, BadFile):
        return ProgramRun.parse(path.read_text("utf-8"), str(path))
    return None


def is_alive(run: ProgramRun) -> bool:
    created = started_at(run.pid)
    return created is not None and abs(created - run.created) < 2


def forget(node: NodePaths, name: str) -> None:
    paths = SupervisorPaths.of(node)
    for path in (paths.program(name), paths.run(name), paths.output(name)):
        path.unlink(missing_ok=True)


def forget_runs(node: NodePaths) -> None:
    for path in SupervisorPaths.of(node).root.glob("*.run.json"):
        path.unlink(missing_ok=True)
