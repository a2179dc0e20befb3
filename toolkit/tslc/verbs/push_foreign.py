"""What a push of an archive that others built consists of: the archive, as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tslc.adapters.build_environment import provenance
from tslc.adapters.clock import now
from tslc.adapters.foreign_mar import file_entry, unpacked_files
from tslc.adapters.pickle_scan import scan
from tslc.domain.pickles import Room, allowed_pickles
from tslc.domain.store_layout import FOREIGN_ARCHIVE
from tslc.domain.store_manifest import Kind, PickleAllowed, StoreManifest
from tslc.errors import BadInput, Refused
from tslc.verbs.push import PushSource


def foreign_source(
    archive: Path,
    model: str | None,
    version: str | None,
    environment: Mapping[str, str],
    *,
    allow_pickle: bool,
) -> PushSource:
    """Open an archive safely and look for pickles in every file of it.

    Raises BadInput for what is no archive, Refused for what is no safe one, for pickles nobody
    allowed, harmful ones and those that can't be read.
    """
    if model is None or version is None:
        message = "an archive as it is needs a name and a version"
        raise BadInput(message, hint=f"tslc push {archive} --model NAME --version V")
    before = file_entry(archive)
    room = Room.of_archive(before.size)
    scanned = [
        one for path, copy in unpacked_files(archive, room) for one in scan(copy, path, room)
    ]
    pickles = allowed_pickles(archive.name, scanned, allow=allow_pickle)
    if file_entry(archive) != before:
        raise Refused(f"{archive} changed while it was read", hint="push it again")
    made = provenance(archive.absolute().parent, environment, now())
    manifest = StoreManifest(
        kind=Kind.FOREIGN,
        model=model,
        version=version,
        files={FOREIGN_ARCHIVE: before},
        provenance=made,
        pickle=PickleAllowed(made.who, pickles) if pickles else None,
    )
    return PushSource(manifest, lambda: _files(archive))


@contextmanager
def _files(archive: Path) -> Iterator[dict[str, Path]]:
    yield {FOREIGN_ARCHIVE: archive}
