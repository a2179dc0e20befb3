"""`tslc up`."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tslc.adapters.stop_signals import stop_signals
from tslc.cli.node_options import home, plan_text, progress
from tslc.cli.output import dry_run_option, emit, json_option
from tslc.cli.settings_options import load_settings, settings_variables
from tslc.cli.store_options import store_options
from tslc.domain.node import PORT_NAMES, Ports, port_flag

if TYPE_CHECKING:
    from tslc.verbs.up import Up

Command = Callable[..., None]
_FILE = click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path)


def port_options(command: Command) -> Command:
    for name in reversed(PORT_NAMES):
        option = click.option(
            port_flag(name), f"{name}_port", type=int, help=f"[default: {getattr(Ports, name)}]"
        )
        command = option(command)
    return command


@click.command("up")
@store_options
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
@click.option(
    "--router-host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Where the router listens: 0.0.0.0 for every network of the machine.",
)
@click.option("--tls-cert", type=_FILE, help="The router's certificate; it then speaks TLS alone.")
@click.option("--tls-key", type=_FILE, help="Its key; both may be replaced meanwhile.")
@click.option(
    "--open",
    "open_to_all",
    is_flag=True,
    help="Let everybody in who reaches the router, also without API keys.",
)
@click.option("--node-id", help="What the node is called in the store.  [default: HOST-NODE]")
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
    router_host: str,
    tls_cert: Path | None,
    tls_key: Path | None,
    open_to_all: bool,
    node_id: str | None,
    dry_run: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Start a node: TorchServe as it should be run, the router before it, the agent behind it.

    TorchServe listens on 127.0.0.1 only, with keys, with archives from its own model store only,
    with quiet logs. The router is where clients ask; the agent brings the node to what the
    environment's state in the store says. Where the settings name no other store, a local S3 server
    is started beside them. A program that dies is started again, until `tslc down`. What runs
    already is left as it is.
    """
    from tslc.domain.settings import LocalStore
    from tslc.verbs.node_programs import RoutingWish
    from tslc.verbs.up import Wish, up

    resolved = load_settings(**flags)
    local = not no_store and isinstance(resolved.settings.store.url, LocalStore)
    ports = {port: flags[f"{port}_port"] for port in PORT_NAMES}
    named = {name: port for name, port in ports.items() if port is not None}
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together")
    routing = RoutingWish(
        resolved.settings.environment().name,
        settings_variables(resolved, flags),
        router_host,
        tls_cert,
        tls_key,
        open_to_all,
        node_id,
    )
    wish = Wish(
        name,
        named,
        free_ports,
        heap,
        token_minutes,
        install_requirements,
        store=local,
        routing=None if no_router else routing,
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
        "ports": asdict(result.settings.ports),
        "key_file": str(result.paths.key_file),
        "run_dir": str(result.paths.run),
        "plan": list(result.plan),
        "store": _store(result),
        "router": result.router,
    }


def _store(result: Up) -> dict[str, Any] | None:
    from tslc.domain.local_store import StorePaths

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
            *([f"  router      {result.router}/v1"] if result.router else []),
        ]
    )
