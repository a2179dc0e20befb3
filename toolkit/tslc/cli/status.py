"""`tslc status`."""

from __future__ import annotations

from typing import Any

import click

from tslc.cli.node_options import home, name_option
from tslc.cli.output import emit, json_option, table
from tslc.domain.served import ServedVersion
from tslc.verbs.status import Status, status

_HEADER = ("MODEL", "VERSION", "DEFAULT", "WORKERS", "READY", "PID", "ARCHIVE")


@click.command("status")
@name_option
@json_option
def command(name: str, as_json: bool) -> None:
    """Show the node, its versions, their workers and readiness.

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
    if not result.versions:
        return f"{head}\nno version is registered"
    return f"{head}\n\n{table(_HEADER, [_row(one) for one in result.versions])}"


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
