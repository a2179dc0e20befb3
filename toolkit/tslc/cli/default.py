"""`tslc default`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tslc.cli.node_options import home, name_option, plan_text
from tslc.cli.output import dry_run_option, emit, json_option

if TYPE_CHECKING:
    from tslc.verbs.default import Defaulted


@click.command("default")
@click.argument("model")
@click.argument("version")
@name_option
@dry_run_option
@json_option
def command(model: str, version: str, name: str, dry_run: bool, as_json: bool) -> None:
    """Make a version the one that answers when none is named; it has to be ready."""
    from tslc.verbs.default import default

    result = default(home(), name, model, version, dry_run=dry_run)
    document = {
        "model": model,
        "version": version,
        "before": result.before,
        "plan": list(result.plan),
    }
    emit(document, lambda: _text(result), as_json=as_json)


def _text(result: Defaulted) -> str:
    if result.plan:
        return plan_text(result.plan)
    if result.before == result.version:
        return f"{result.version} is the default version of {result.model} already"
    return f"{result.version} is the default version of {result.model} now, before {result.before}"
