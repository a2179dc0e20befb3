"""What the verbs of the store share: which store, progress in bytes, sizes in words."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tslc.cli.node_options import home, name_option, progress
from tslc.cli.output import size_text
from tslc.cli.settings_options import load_settings, settings_options

if TYPE_CHECKING:
    from tslc.domain.settings import Settings
    from tslc.domain.store_manifest import StoreManifest

Command = Callable[..., None]
_REDRAW_SECONDS = 0.1


def store_options(command: Command) -> Command:
    """The settings' flags, and `--name` for the node whose own store `local` means."""
    return settings_options(name_option(command))


def settings_of(flags: dict[str, str | Path | None]) -> Settings:
    return load_settings(**flags).settings


def node_of(name: str) -> Any:
    from tslc.domain.node import node_paths

    return node_paths(home(), name)


@contextmanager
def byte_progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A line on a terminal: `what` percent of all, and how fast; call it with bytes done and in
    all."""
    began = time.monotonic()
    drawn = 0.0
    with progress() as line:

        def show(done: int, total: int) -> None:
            nonlocal drawn
            at = time.monotonic()
            if at - drawn < _REDRAW_SECONDS:
                return
            drawn = at
            speed = size_text(int(done / max(at - began, 0.1)))
            line(f"{what} {100 * done // max(1, total)}% of {size_text(total)}, {speed}/s")

        yield show


def manifest_json(manifest: StoreManifest) -> dict[str, Any]:
    """A version in a few words, for --json."""
    return {
        "model": manifest.model,
        "version": manifest.version,
        "kind": str(manifest.kind),
        "content": manifest.content,
        "files": len(manifest.files),
        "size": manifest.size,
        "created": manifest.provenance.created,
        "builder": manifest.provenance.builder,
        "host": manifest.provenance.host,
    }
