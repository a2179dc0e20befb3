"""`tslc verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tslc.cli.output import emit, json_option, plural, size_text
from tslc.cli.store_options import byte_progress, manifest_json, node_of, settings_of, store_options

if TYPE_CHECKING:
    from tslc.verbs.versions import Verified


@click.command("verify")
@click.argument("model")
@click.argument("version")
@store_options
@json_option
def command(model: str, version: str, name: str, as_json: bool, **flags: str | Path | None) -> None:
    """Read every byte of a version in the store and compare it with its manifest and signature."""
    from tslc.verbs.store_access import open_store
    from tslc.verbs.store_trust import checker
    from tslc.verbs.versions import verify

    settings = settings_of(flags)
    store = open_store(settings, node_of(name))
    with byte_progress("reading") as progress:
        result = verify(store, model, version, check=checker(settings), progress=progress)
    document = {
        **manifest_json(result.manifest),
        "verified_blobs": result.blobs,
        "verified_bytes": result.bytes,
        "trust": result.trust,
    }
    emit(document, lambda: _text(result), as_json=as_json)


def _text(result: Verified) -> str:
    read = f"{plural(result.blobs, 'blob')}, {size_text(result.bytes)}"
    named = f"{result.manifest.model} {result.manifest.version}"
    return f"{named} is what its manifest says: {read}\n  signature  {result.trust}"
