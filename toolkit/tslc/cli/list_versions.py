"""`tslc list`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tslc.cli.output import emit, json_option, size_text, table
from tslc.cli.store_options import manifest_json, node_of, settings_of, store_options

if TYPE_CHECKING:
    from tslc.verbs.versions import Row


@click.command("list")
@click.argument("model", required=False)
@store_options
@json_option
def command(model: str | None, name: str, as_json: bool, **flags: str | Path | None) -> None:
    """List the versions in the store, of MODEL or of all models."""
    from tslc.verbs.store_access import open_store
    from tslc.verbs.versions import list_rows

    store = open_store(settings_of(flags), node_of(name))
    rows = list_rows(store, model)
    emit([_as_json(row) for row in rows], lambda: _text(rows, str(store.address)), as_json=as_json)


def _as_json(row: Row) -> dict[str, Any]:
    known = manifest_json(row.manifest) if row.manifest else {"problem": row.problem}
    return {"model": row.model, "version": row.version, "signed": row.signed, **known}


def _text(rows: tuple[Row, ...], store: str) -> str:
    if not rows:
        return f"{store} has no versions yet"
    header = ("MODEL", "VERSION", "KIND", "SIZE", "SIGNED", "CREATED", "BY")
    return table(header, [_cells(row) for row in rows])


def _cells(row: Row) -> tuple[str, ...]:
    signed = "yes" if row.signed else "no"
    if row.manifest is None:
        return row.model, row.version, "BROKEN", "-", signed, "-", "tslc verify says why"
    found = row.manifest
    who = found.provenance
    size = size_text(found.size)
    return row.model, row.version, str(found.kind), size, signed, who.created, who.who
