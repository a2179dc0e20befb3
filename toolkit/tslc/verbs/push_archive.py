"""What a push of an archive that tslc built consists of: its files, and its weights' files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tslc.adapters.archive_file import VerifiedArchive, open_archive
from tslc.adapters.build_environment import provenance
from tslc.adapters.clock import now
from tslc.adapters.model_store import find_weights, weights_beside
from tslc.adapters.source_files import is_folder, weights_files
from tslc.adapters.version_folder import unpacked
from tslc.domain.store_layout import ARCHIVE, WEIGHTS
from tslc.domain.store_manifest import Kind, StoreManifest, stored_files
from tslc.errors import BadInput
from tslc.verbs.push import PushSource


def archive_source(
    archive: Path, weights: Path | None, environment: Mapping[str, str]
) -> PushSource:
    """Read an archive, every byte of it. `weights`: the folder of its weights; else they are
    looked for where `tslc build` links them.

    The weights' digests are those the archive names: they are hashed while they are sent.
    Raises BadFile for an archive that is not as its manifest says.
    """
    if weights is not None and not is_folder(weights):
        raise BadInput(f"no folder {weights}", hint="name the weights' folder with --weights")
    opened = open_archive(archive)
    if opened.manifest.weights is not None:
        sha256 = opened.manifest.weights.hex
        weights = weights or weights_beside(archive, sha256)
        weights = weights or find_weights(sha256, [Path("dist", "weights")])
    manifest = StoreManifest(
        kind=Kind.TSLC,
        model=opened.manifest.model,
        version=opened.manifest.version,
        files=stored_files(opened.manifest),
        provenance=provenance(archive.absolute().parent, environment, now()),
    )
    return PushSource(manifest, lambda: _files(opened, weights))


@contextmanager
def _files(archive: VerifiedArchive, weights: Path | None) -> Iterator[dict[str, Path]]:
    beside = weights_files(weights) if weights else {}
    with unpacked(archive) as inside:
        yield {
            **{f"{ARCHIVE}{path}": file for path, file in inside.items()},
            **{f"{WEIGHTS}{path}": file for path, file in beside.items()},
        }
