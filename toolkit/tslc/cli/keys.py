"""`tslc keys`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from tslc.cli.output import dry_run_option, emit, json_option, table
from tslc.cli.store_options import node_of, settings_of, store_options

if TYPE_CHECKING:
    from tslc.adapters.s3_store import S3Store
    from tslc.verbs.environment import Telling


@click.group("keys")
def command() -> None:
    """API keys of an environment's routers. Where there is none, nobody is asked for one.

    The store has only their SHA-256. Nodes take a change within seconds, without a restart.
    """


@command.command("create")
@click.argument("key_name", metavar="NAME")
@click.option("--per-minute", type=click.IntRange(1), help="At most so many requests, a node.")
@click.option("--reason", default="", metavar="TEXT", help="Why; it goes into the history.")
@store_options
@dry_run_option
@json_option
def create(
    key_name: str,
    per_minute: int | None,
    reason: str,
    name: str,
    dry_run: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Make a key and print it: it is shown this once."""
    from tslc.verbs.keys import create_key

    store, environment, telling = _change(flags, name, reason, f"keys create {key_name}")
    made = create_key(store, environment, key_name, per_minute, telling, dry_run=dry_run)
    document = {"name": key_name, "key": made, "per_minute": per_minute, "dry_run": dry_run}
    emit(document, made or f"would make the key {key_name} in {environment}", as_json=as_json)


@command.command("list")
@store_options
@json_option
def list_(name: str, as_json: bool, **flags: Any) -> None:
    """Show the keys there are, by name."""
    from tslc.verbs.keys import list_keys
    from tslc.verbs.store_access import open_store

    settings = settings_of(flags)
    environment = settings.environment().name
    keys = list_keys(open_store(settings, node_of(name)), environment)
    rows = [
        (key.name, str(key.per_minute or "-"), f"{key.sha256[:12]}…") for key in keys
    ]  # fmt: skip
    emit(
        [{"name": key.name, "per_minute": key.per_minute, "sha256": key.sha256} for key in keys],
        lambda: (
            table(("NAME", "PER MINUTE", "SHA-256"), rows)
            if rows
            else f"{environment} has no keys: nobody is asked for one"
        ),
        as_json=as_json,
    )


@command.command("revoke")
@click.argument("key_name", metavar="NAME")
@click.option("--reason", default="", metavar="TEXT", help="Why; it goes into the history.")
@click.option("--open", "opens", is_flag=True, help="Also the last one: then nobody is asked.")
@store_options
@dry_run_option
@json_option
def revoke(
    key_name: str,
    reason: str,
    opens: bool,
    name: str,
    dry_run: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Let a key be good no longer."""
    from tslc.verbs.keys import revoke_key

    store, environment, telling = _change(flags, name, reason, f"keys revoke {key_name}")
    revoke_key(store, environment, key_name, telling, opens=opens, dry_run=dry_run)
    said = "would revoke" if dry_run else "revoked"
    emit(
        {"name": key_name, "revoked": not dry_run},
        f"{said} {key_name} in {environment}",
        as_json=as_json,
    )


def _change(
    flags: dict[str, Any], node: str, reason: str, what: str
) -> tuple[S3Store, str, Telling]:
    """Where keys are changed, in which environment, and what its history is told."""
    from tslc.adapters.build_environment import who
    from tslc.verbs.environment import Telling
    from tslc.verbs.store_access import open_store

    settings = settings_of(flags)
    telling = Telling(who(os.environ), reason, what)
    return open_store(settings, node_of(node)), settings.environment().name, telling
