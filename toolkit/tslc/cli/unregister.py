"""`tslc unregister`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tslc.cli.node_options import home, name_option, plan_text, progress
from tslc.cli.output import dry_run_option, emit, json_option

if TYPE_CHECKING:
    from tslc.verbs.unregister import Unregistered


@click.command("unregister")
@click.argument("model")
@click.argument("version")
@click.option("--force", is_flag=True, help="Even the default version: another becomes it.")
@name_option
@dry_run_option
@json_option
def command(model: str, version: str, force: bool, name: str, dry_run: bool, as_json: bool) -> None:
    """Take a version off the node; its archive stays in the model store."""
    from tslc.verbs.unregister import unregister

    with progress() as line:
        result = unregister(home(), name, model, version, force=force, dry_run=dry_run, report=line)
    document = {
        "model": model,
        "version": version,
        "new_default": result.new_default,
        "ended": list(result.ended),
        "plan": list(result.plan),
    }
    emit(document, lambda: _text(result), as_json=as_json)


def _text(result: Unregistered) -> str:
    if result.plan:
        return plan_text(result.plan)
    text = f"{result.model} {result.version} is unregistered"
    if result.new_default:
        text += f"; the default version is {result.new_default} now"
    if result.ended:
        text += f"; ended what was left: {', '.join(result.ended)}"
    return text
