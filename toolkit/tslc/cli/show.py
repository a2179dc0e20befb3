"""`tslc show`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tslc.cli.output import emit, json_option, plural, size_text
from tslc.cli.store_options import node_of, settings_of, store_options

if TYPE_CHECKING:
    from tslc.verbs.versions import Shown


@click.command("show")
@click.argument("model")
@click.argument("version")
@store_options
@json_option
def command(model: str, version: str, name: str, as_json: bool, **flags: str | Path | None) -> None:
    """Show a version in the store: what it is made of, who made it, with which tools."""
    from tslc.verbs.store_access import open_store
    from tslc.verbs.versions import show

    shown = show(open_store(settings_of(flags), node_of(name)), model, version)
    document = {**json.loads(shown.manifest.render()), "signed": shown.signed}
    emit(document, lambda: _text(shown), as_json=as_json)


def _text(shown: Shown) -> str:
    from tslc.domain.store_layout import WEIGHTS

    manifest, who = shown.manifest, shown.manifest.provenance
    weights = manifest.below(WEIGHTS)
    rest = len(manifest.files) - len(weights)
    weigh = size_text(sum(entry.size for entry in weights.values()))
    git = "none known"
    if who.git:
        git = who.git.commit + (", with changes that are not committed" if who.git.dirty else "")
    rows = [
        ("content", manifest.content),
        ("kind", str(manifest.kind)),
        ("size", size_text(manifest.size)),
        ("weights", f"{plural(len(weights), 'file')}, {weigh}" if weights else "none"),
        ("other files", str(rest)),
        ("signed", "yes" if shown.signed else "no"),
        ("pushed", f"{who.created} by {who.who}"),
        ("git commit", git),
        ("tslc", who.tslc),
        ("python", who.python),
        ("vllm", who.vllm or "not installed"),
        ("torchserve", who.torchserve or "not installed"),
        ("archiver", who.archiver or "not installed"),
    ]
    if manifest.pickle:
        allowed = f"{', '.join(manifest.pickle.files)}, allowed by {manifest.pickle.allowed_by}"
        rows.append(("pickle", allowed))
    lines = [f"{manifest.model} {manifest.version}"]
    lines += [f"  {key:<12} {value}" for key, value in rows]
    lines.append("files")
    sized = sorted(manifest.files.items())
    lines += [f"  {entry.sha256[:12]}  {size_text(entry.size):>8}  {p}" for p, entry in sized]
    return "\n".join(lines)
