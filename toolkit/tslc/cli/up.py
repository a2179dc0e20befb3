"""`tslc up`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import click

from tslc.adapters.stop_signals import stop_signals
from tslc.cli.node_options import home, name_option, plan_text, progress
from tslc.cli.output import dry_run_option, emit, json_option
from tslc.cli.settings_options import load_settings
from tslc.domain.local_store import StorePaths
from tslc.domain.node import Ports, port_flag
from tslc.domain.settings import LocalStore
from tslc.verbs.up import Up, Wish, up

Command = Callable[..., None]


def port_options(command: Command) -> Command:
    for name, field in reversed(Ports.model_fields.items()):
        option = click.option(
            port_flag(name), f"{name}_port", type=int, help=f"[default: {field.default}]"
        )
        command = option(command)
    return command


@click.command("up")
@name_option
@port_options
@click.option("--free-ports", is_flag=True, help="Take free ports for those not named.")
@click.option("--heap", help="Largest heap of TorchServe's Java.  [default: 512m]")
@click.option(
    "--token-minutes",
    type=float,
    help="How long TorchServe's keys are good for.  [default: 10080, a week]",
)
@click.option(
    "--install-requirements",
    is_flag=True,
    help="Let an archive's requirements.txt be installed beside it, from the package index.",
)
@click.option("--no-store", is_flag=True, help="Leave the local store out.")
@click.option("--no-router", is_flag=True, help="Leave the router and the agent out.")
@dry_run_option
@json_option
def command(
    name: str,
    free_ports: bool,
    heap: str | None,
    token_minutes: float | None,
    install_requirements: bool,
    no_store: bool,
    no_router: bool,
    dry_run: bool,
    as_json: bool,
    **ports: int | None,
) -> None:
    """Start a local TorchServe as it should be run, and keep it running.

    On 127.0.0.1 only, with keys, with archives from its own model store only, with quiet logs.
    Where the settings name no other store, a local S3 server is started beside it. A program of the
    node that dies is started again, until `tslc down`. What runs already is left as it is.
    """
    local = not no_store and isinstance(load_settings().settings.store.url, LocalStore)
    named = {key.removesuffix("_port"): port for key, port in ports.items() if port is not None}
    wish = Wish(
        name,
        named,
        free_ports,
        heap,
        token_minutes,
        install_requirements,
        store=local,
        router=not no_router,
    )
    with stop_signals(), progress() as line:
        result = up(home(), wish, os.environ, dry_run=dry_run, report=line)
    emit(_as_json(result), lambda: _text(result), as_json=as_json)


def _as_json(result: Up) -> dict[str, Any]:
    return {
        "node": result.settings.name,
        "folder": str(result.paths.root),
        "pid": result.pid,
        "already_running": result.already,
        "ports": result.settings.ports.model_dump(),
        "key_file": str(result.paths.key_file),
        "run_dir": str(result.paths.run),
        "plan": list(result.plan),
        "store": _store(result),
    }


def _store(result: Up) -> dict[str, Any] | None:
    if result.store is None:
        return None
    return {
        "endpoint_url": result.store.endpoint_url,
        "bucket": result.store.bucket,
        "credential_file": str(StorePaths(result.paths.store).state),
        "already_running": result.store_already,
    }


def _text(result: Up) -> str:
    if result.plan:
        return plan_text(result.plan)
    ports = result.settings.ports
    said = "is running already" if result.already else "is up"
    return "\n".join(
        [
            f"node '{result.settings.name}' {said}: pid {result.pid}",
            f"  inference   http://127.0.0.1:{ports.inference}",
            f"  management  http://127.0.0.1:{ports.management}",
            f"  metrics     http://127.0.0.1:{ports.metrics}/metrics",
            f"  keys        {result.paths.key_file}",
            f"  doors       {result.paths.run}",
            f"  logs        {result.paths.logs}",
            *([f"  store       {result.store.endpoint_url}"] if result.store else []),
        ]
    )
