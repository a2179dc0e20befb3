"""`tslc status`: what the node serves, as its workers' doors tell it, and the programs it runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tslc.adapters import program_runs, supervisor
from tslc.domain.node import NodePaths
from tslc.domain.served import ServedVersion
from tslc.domain.supervised import ProgramStatus
from tslc.verbs.running_node import RunningNode, open_node, served_versions


@dataclass(frozen=True)
class Status:
    """`supervised`: a program that dies is started again."""

    node: RunningNode
    versions: tuple[ServedVersion, ...]
    programs: tuple[ProgramStatus, ...]
    supervised: bool


def status(home: Path, node_name: str) -> Status:
    """Raises NotRunning when the node is not running."""
    node = open_node(home, node_name)
    programs = program_statuses(node.paths)
    return Status(node, served_versions(node), programs, supervisor.is_running(node.paths))


def program_statuses(paths: NodePaths) -> tuple[ProgramStatus, ...]:
    """All programs of the node, by name."""
    found = []
    for program in program_runs.read_programs(paths):
        run = program_runs.last_run(paths, program.name)
        running = run is not None and program_runs.is_alive(run)
        found.append(ProgramStatus(program.name, running, run))
    return tuple(found)
