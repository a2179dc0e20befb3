"""`tslc push`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tslc.cli.output import dry_run_option, emit, json_option, plural, size_text
from tslc.cli.store_options import byte_progress, manifest_json, node_of, settings_of, store_options

if TYPE_CHECKING:
    from tslc.verbs.push import Pushed

_PATH = click.Path(path_type=Path)


@click.command("push")
@click.argument("archive", type=_PATH)
@click.option("--weights", type=_PATH, help="The weights' folder, if not beside the archive.")
@click.option("--sign", "key", metavar="KEY", help="Sign: a private key's file, or awskms:///KEY.")
@click.option("--model", metavar="NAME", help="Take an archive others built as it is: its name.")
@click.option("--version", metavar="V", help="… and its version.")
@click.option("--allow-pickle", is_flag=True, help="… even with pickles in it, which can run code.")
@click.option("--repair", is_flag=True, help="Send every blob, also those that are there.")
@store_options
@dry_run_option
@json_option
def command(
    archive: Path,
    weights: Path | None,
    key: str | None,
    model: str | None,
    version: str | None,
    allow_pickle: bool,
    repair: bool,
    name: str,
    dry_run: bool,
    as_json: bool,
    **flags: str | Path | None,
) -> None:
    """Put a version into the store: an ARCHIVE that `tslc build` made, and its weights.

    With --model and --version: any TorchServe archive (.mar), as it is. It is opened safely, and
    looked through for pickles.

    Only what the store lacks is sent. A version never changes: pushing it again with the same
    content succeeds, with other content it is refused. A push that was killed leaves nothing to
    be seen, and the next one goes on where it was.
    """
    from tslc.verbs.push import push
    from tslc.verbs.push_archive import archive_source
    from tslc.verbs.push_foreign import foreign_source
    from tslc.verbs.store_access import open_store
    from tslc.verbs.store_trust import signer

    store = open_store(settings_of(flags), node_of(name))
    if model is not None or version is not None or allow_pickle:
        source = foreign_source(archive, model, version, os.environ, allow_pickle=allow_pickle)
    else:
        source = archive_source(archive, weights, os.environ)
    sign = signer(key) if key else None
    with byte_progress("sending") as progress:
        result = push(store, source, sign=sign, repair=repair, dry_run=dry_run, progress=progress)
    emit(_as_json(result), lambda: _text(result), as_json=as_json)


def _as_json(result: Pushed) -> dict[str, Any]:
    from tslc.verbs.push import PushOutcome

    return {
        **manifest_json(result.manifest),
        "outcome": str(result.outcome),
        "dry_run": result.outcome is PushOutcome.WOULD_PUSH,
        "store": result.store,
        "sent_blobs": result.sent,
        "sent_bytes": result.sent_bytes,
        "reused_blobs": result.reused,
        "reused_bytes": result.reused_bytes,
        "signed": result.signed,
    }


def _text(result: Pushed) -> str:
    from tslc.verbs.push import PushOutcome

    named = f"{result.manifest.model} {result.manifest.version}"
    signed = ", signed" if result.signed else ""
    sent = f"{plural(result.sent, 'blob')}, {size_text(result.sent_bytes)}"
    reused = f"{plural(result.reused, 'blob')}, {size_text(result.reused_bytes)}"
    match result.outcome:
        case PushOutcome.EXISTS:
            by = f"pushed by {result.manifest.provenance.who}"
            when = result.manifest.provenance.created
            return f"{named} is in {result.store} already, the same content, {by} at {when}{signed}"
        case PushOutcome.WOULD_PUSH:
            return f"would push {named} to {result.store}\n  send   {sent}\n  reuse  {reused}"
        case PushOutcome.PUSHED:
            head = f"pushed {named} to {result.store}{signed}"
            content = f"  content  {result.manifest.content}"
            return f"{head}\n{content}\n  sent     {sent}\n  reused   {reused}"
