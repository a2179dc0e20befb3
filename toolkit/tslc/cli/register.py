"""`tslc register`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from tslc.adapters.stop_signals import stop_signals
from tslc.cli.node_options import home, name_option, plan_text, progress
from tslc.cli.output import dry_run_option, emit, json_option
from tslc.verbs.register import Registered, register
from tslc.verbs.register_plan import Request


@click.command("register")
@click.argument("archive_or_model", metavar="ARCHIVE | MODEL")
@click.argument("version", required=False, metavar="[VERSION]")
@click.option(
    "--dist",
    type=click.Path(path_type=Path),
    default=Path("dist"),
    show_default=True,
    help="Where built archives lie, and their weights.",
)
@name_option
@dry_run_option
@json_option
def command(
    archive_or_model: str,
    version: str | None,
    dist: Path,
    name: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Load a version and wait until it answers its golden prompts.

    MODEL VERSION is looked for in the node's model store, then in --dist; an ARCHIVE is a file or
    folder that `tslc build` made. A version that does not load, or answers a golden prompt
    wrongly, is unregistered again.
    """
    if version is None:
        request = Request(None, None, Path(archive_or_model), dist.absolute())
    else:
        request = Request(archive_or_model, version, None, dist.absolute())
    with stop_signals(), progress() as line:
        result = register(home(), name, request, os.environ, dry_run=dry_run, report=line)
    emit(_as_json(result), lambda: _text(result), as_json=as_json)


def _as_json(result: Registered) -> dict[str, Any]:
    return {
        "model": result.model,
        "version": result.version,
        "default": result.default,
        "already_registered": result.already,
        "seconds": round(result.seconds, 2),
        "golden_prompts": [
            {"name": one.name, "passed": one.passed, "seconds": round(one.seconds, 3)}
            for one in result.prompts
        ],
        "plan": list(result.plan),
    }


def _text(result: Registered) -> str:
    if result.plan:
        return plan_text(result.plan)
    named = f"{result.model} {result.version}"
    role = " (the default version)" if result.default else ""
    if result.already:
        return f"{named} is registered already{role}, the same archive, and ready"
    count = len(result.prompts)
    passed = f"passed {count} golden prompt{'s' if count != 1 else ''}"
    return f"{named} is ready{role}: loaded in {result.seconds:.1f} s, {passed}"
