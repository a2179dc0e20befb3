"""`tslc diff`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tslc.cli.output import emit, json_option
from tslc.cli.store_options import node_of, settings_of, store_options

if TYPE_CHECKING:
    from tslc.domain.version_diff import Change, PartDiff

_LONGEST = 100


@click.command("diff")
@click.argument("model")
@click.argument("version")
@click.argument("other_version")
@store_options
@json_option
def command(
    model: str,
    version: str,
    other_version: str,
    name: str,
    as_json: bool,
    **flags: str | Path | None,
) -> None:
    """Show what changed from VERSION to OTHER_VERSION, part by part, and what did not."""
    from tslc.verbs.store_access import open_store
    from tslc.verbs.versions import diff_versions

    store = open_store(settings_of(flags), node_of(name))
    parts = diff_versions(store, model, version, other_version)
    emit([_as_json(part) for part in parts], lambda: _text(parts), as_json=as_json)


def _as_json(part: PartDiff) -> dict[str, Any]:
    return {
        "part": str(part.part),
        "changed": bool(part.changes),
        "same": part.same,
        "changes": [
            {"what": one.what, "before": one.before, "after": one.after} for one in part.changes
        ],
    }


def _text(parts: tuple[PartDiff, ...]) -> str:
    lines: list[str] = []
    for part in parts:
        if not part.changes:
            lines.append(f"{part.part}: unchanged ({part.same})")
            continue
        lines.append(f"{part.part}: {len(part.changes)} changed, {part.same} not")
        lines += [f"  {_line(change)}" for change in part.changes]
    return "\n".join(lines)


def _line(change: Change) -> str:
    from tslc.domain.version_diff import Change

    match change:
        case Change(what, None, after):
            return f"+ {what}: {_short(after)}"
        case Change(what, before, None):
            return f"- {what}: {_short(before)}"
        case Change(what, before, after):
            return f"~ {what}: {_short(before)} -> {_short(after)}"


def _short(text: str | None) -> str:
    said = text or ""
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]}..."
