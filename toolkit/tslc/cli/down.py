"""`tslc down`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tslc.cli.node_options import home, name_option, plan_text, progress
from tslc.cli.output import dry_run_option, emit, json_option

if TYPE_CHECKING:
    from tslc.verbs.down import Down


@click.command("down")
@name_option
@dry_run_option
@json_option
def command(name: str, dry_run: bool, as_json: bool) -> None:
    """Stop the local node and everything it started.

    The node's run/ and tmp/ are emptied; its model store, weights, logs and what its store holds
    stay.
    """
    from tslc.verbs.down import down

    with progress() as line:
        result = down(home(), name, dry_run=dry_run, report=line)
    document = {
        "node": name,
        "was_running": result.was_running,
        "ended": list(result.ended),
        "plan": list(result.plan),
        "store_ended": result.store_ended,
    }
    emit(document, lambda: _text(name, result), as_json=as_json)


def _text(name: str, result: Down) -> str:
    if result.plan:
        return plan_text(result.plan)
    said = "is down" if result.was_running else "was not running"
    more = f"; ended what was left: {', '.join(result.ended)}" if result.ended else ""
    store = "; its store is stopped" if result.store_ended else ""
    return f"node '{name}' {said}{store}{more}"
