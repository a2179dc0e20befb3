"""`tslc status`."""

from __future__ import annotations

from typing import Any

import click

from tslc.cli.node_options import home, name_option
from tslc.cli.output import emit, json_option, table
from tslc.domain.served import ServedVersion
from tslc.domain.supervised import ProgramStatus
from tslc.verbs.status import Status, status

_HEADER = ("MODEL", "VERSION", "DEFAULT", "WORKERS", "READY", "PID", "ARCHIVE")
_PROGRAM_HEADER = ("PROGRAM", "SINCE", "PID", "RESTARTS")


@click.command("status")
@name_option
@json_option
def command(name: str, as_json: bool) -> None:
    """Show the node, its programs, its versions, their workers and readiness.

    READY is what the workers themselves answer: each generates a token for it.
    """
    result = status(home(), name)
    emit(_as_json(result), lambda: _text(result), as_json=as_json)


def _as_json(result: Status) -> dict[str, Any]:
    node = result.node
    return {
        "node": node.settings.name,
        "folder": str(node.paths.root),
        "pid": node.pid,
        "started": node.started,
        "ports": node.settings.ports.model_dump(),
        "run_dir": str(node.paths.run),
        "supervised": result.supervised,
        "programs": [
            {
                "name": one.name,
                "running": one.running,
                "pid": one.run.pid if one.run and one.running else None,
                "since": one.run.since if one.run and one.running else None,
                "restarts": one.restarts,
            }
            for one in result.programs
        ],
        "versions": [
            {
                "model": one.model,
                "version": one.version,
                "default": one.default,
                "workers": one.workers,
                "ready_workers": one.ready_workers,
                "ready": one.ready,
                "reason": one.why_not,
                "pids": [door.pid for door in one.doors],
                "archive": one.archive,
            }
            for one in result.versions
        ],
    }


def _text(result: Status) -> str:
    node = result.node
    head = (
        f"node '{node.settings.name}': pid {node.pid}, since {node.started}, "
        f"inference on port {node.settings.ports.inference}"
    )
    shown = [head, table(_PROGRAM_HEADER, [_program(one) for one in result.programs])]
    if not result.supervised:
        shown.append("supervisord does not run: `tslc up` starts it, and it takes over what runs")
    if not result.versions:
        return "\n\n".join([*shown, "no version is registered"])
    return "\n\n".join([*shown, table(_HEADER, [_row(one) for one in result.versions])])


def _program(one: ProgramStatus) -> tuple[str, ...]:
    if one.run is None or not one.running:
        return one.name, "is started again", "-", str(one.restarts)
    return one.name, one.run.since, str(one.run.pid), str(one.restarts)


def _row(one: ServedVersion) -> tuple[str, ...]:
    return (
        one.model,
        one.version,
        "yes" if one.default else "-",
        f"{one.ready_workers}/{one.workers}",
        "yes" if one.ready else f"no: {one.why_not}",
        ",".join(str(door.pid) for door in one.doors) or "-",
        one.archive,
    )
