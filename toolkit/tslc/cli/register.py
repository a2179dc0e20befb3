"""`tslc register`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tslc.adapters.stop_signals import stop_signals
from tslc.cli.node_options import home, plan_text, progress
from tslc.cli.output import dry_run_option, emit, json_option
from tslc.cli.store_options import settings_of, store_options

if TYPE_CHECKING:
    from tslc.verbs.register import Registered
    from tslc.verbs.register_plan import Request


@click.command("register")
@click.argument("archive_or_model", metavar="ARCHIVE | MODEL")
@click.argument("version", required=False, metavar="[VERSION]")
@click.option(
    "--dist",
    type=click.Path(path_type=Path),
    help="Take MODEL VERSION from the node or this folder of built archives, not from the store.",
)
@store_options
@dry_run_option
@json_option
def command(
    archive_or_model: str,
    version: str | None,
    dist: Path | None,
    name: str,
    dry_run: bool,
    as_json: bool,
    **flags: str | Path | None,
) -> None:
    """Load a version and wait until it answers its golden prompts.

    MODEL VERSION is taken from the store, every byte of it verified; an ARCHIVE is a file or
    folder that `tslc build` or `tslc pull` made. The environment's rules about signatures are
    obeyed. A version that does not load, or answers a golden prompt wrongly, is unregistered
    again.
    """
    from tslc.verbs.register import register, register_stored
    from tslc.verbs.store_trust import checker

    settings = settings_of(flags)
    with stop_signals(), progress() as line:
        if version is not None and dist is None:
            result = register_stored(
                *(home(), name, archive_or_model, version, settings, os.environ),
                dry_run=dry_run,
                report=line,
            )
        else:
            request = _at_hand(archive_or_model, version, dist)
            check = checker(settings)
            result = register(
                home(), name, request, check, os.environ, dry_run=dry_run, report=line
            )
    emit(_as_json(result), lambda: _text(result), as_json=as_json)


def _at_hand(archive_or_model: str, version: str | None, dist: Path | None) -> Request:
    from tslc.verbs.register_plan import ArchiveAt, BuiltIn

    if version is None or dist is None:
        return ArchiveAt(Path(archive_or_model))
    return BuiltIn(archive_or_model, version, dist.absolute())


def _as_json(result: Registered) -> dict[str, Any]:
    return {
        "model": result.model,
        "version": result.version,
        "default": result.default,
        "already_registered": result.already,
        "trust": result.trust,
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
    loaded = f"{named} is ready{role}: loaded in {result.seconds:.1f} s, {passed}"
    return f"{loaded}\n  {result.trust}"
