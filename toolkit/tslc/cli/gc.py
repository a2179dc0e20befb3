"""`tslc gc`."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tslc.cli.output import emit, json_option, plural, size_text
from tslc.cli.store_options import node_of, settings_of, store_options

if TYPE_CHECKING:
    from tslc.verbs.gc import Collected

_LONGEST = timedelta(days=36_500)
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


class _Duration(click.ParamType[timedelta]):
    name = "duration"

    def convert(
        self, value: str | timedelta, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        if isinstance(value, timedelta):
            return value
        said = re.fullmatch(r"(\d{1,6})([mhd])", value)
        if not said:
            self.fail(f"{value!r} is not like 7d, 12h or 90m", param, ctx)
        grace = timedelta(**{_UNITS[said[2]]: int(said[1])})
        if grace > _LONGEST:
            self.fail(f"{value!r} is over {_LONGEST.days} days", param, ctx)
        return grace


@click.command("gc")
@click.option("--delete", is_flag=True, help="Delete; without it, only say what would go.")
@click.option(
    "--grace", type=_Duration(), default="7d", show_default=True, help="Younger blobs stay."
)
@store_options
@json_option
def command(
    delete: bool, grace: timedelta, name: str, as_json: bool, **flags: str | Path | None
) -> None:
    """Find blobs in the store that nothing refers to, and with --delete, delete them.

    What any version or environment refers to stays, and so does what is younger than --grace.
    Versions are never deleted.
    """
    from tslc.verbs.gc import collect
    from tslc.verbs.store_access import open_store

    result = collect(open_store(settings_of(flags), node_of(name)), grace, delete=delete)
    emit(_as_json(result), lambda: _text(result), as_json=as_json)


def _as_json(result: Collected) -> dict[str, Any]:
    plan = result.plan
    return {
        "dry_run": not result.deleted,
        "blobs": [blob.sha256 for blob in plan.go],
        "bytes": sum(blob.size for blob in plan.go),
        "unfinished_uploads": result.uploads,
        "kept_referenced": len(plan.named),
        "kept_young": len(plan.young),
        "versions": result.versions,
    }


def _text(result: Collected) -> str:
    plan = result.plan
    size = size_text(sum(blob.size for blob in plan.go))
    uploads = plural(result.uploads, "unfinished upload")
    verb = "deleted" if result.deleted else "would delete (with --delete)"
    kept = f"{len(plan.named)} that {plural(result.versions, 'version')} need"
    return (
        f"{verb} {plural(len(plan.go), 'blob')}, {size}, and {uploads}\n"
        f"  kept  {kept}, {len(plan.young)} too young"
    )
