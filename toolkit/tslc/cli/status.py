"""`tslc status`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from tslc.cli.node_options import home
from tslc.cli.output import emit, json_option, table
from tslc.cli.settings_options import parameter
from tslc.cli.store_options import node_of, settings_of, store_options

if TYPE_CHECKING:
    from tslc.domain.served import ServedVersion
    from tslc.domain.supervised import ProgramStatus
    from tslc.verbs.status import Status

_HEADER = ("MODEL", "VERSION", "DEFAULT", "WORKERS", "READY", "PID", "ARCHIVE")
_PROGRAM_HEADER = ("PROGRAM", "SINCE", "PID", "RESTARTS")


@click.command("status")
@click.option(
    "--watch",
    type=click.FloatRange(0.2),
    is_flag=False,
    flag_value=2.0,
    metavar="[SECONDS]",
    help="Show it again and again, until Ctrl-C.",
)
@store_options
@json_option
def command(name: str, watch: float | None, as_json: bool, **flags: Any) -> None:
    """Show the node, its programs, its versions, their workers and readiness.

    READY is what the workers themselves answer: each generates a token for it. With --env, what
    that environment should serve against what each of its nodes reports.
    """
    while True:
        shown = _environment(name, flags) if _names_environment(flags) else _node(name)
        if watch is not None and not as_json and sys.stdout.isatty():
            click.clear()
        emit(*shown, as_json=as_json)
        if watch is None:
            return
        time.sleep(watch)


Shown = tuple[dict[str, Any], Callable[[], str]]


def _names_environment(flags: dict[str, Any]) -> bool:
    return flags.get(parameter("default_environment")) is not None


def _environment(name: str, flags: dict[str, Any]) -> Shown:
    # boto3 takes a while to load, and a look at the node needs none of it.
    from tslc.cli.environment_status import status_json, status_text
    from tslc.verbs.environment_status import environment_status
    from tslc.verbs.store_access import open_store

    settings = settings_of(flags)
    store = open_store(settings, node_of(name))
    found = environment_status(store, settings.environment().name)
    return status_json(found), lambda: status_text(found)


def _node(name: str) -> Shown:
    from tslc.verbs.status import status

    result = status(home(), name)
    return _as_json(result), lambda: _text(result)


def _as_json(result: Status) -> dict[str, Any]:
    node = result.node
    return {
        "node": node.settings.name,
        "folder": str(node.paths.root),
        "pid": node.pid,
        "started": node.started,
        "ports": asdict(node.settings.ports),
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
