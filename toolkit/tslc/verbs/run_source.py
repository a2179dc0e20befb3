"""What the MODEL of `tslc run` is: a model folder, a name of the hub, a spec, a built archive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tslc.adapters import source_files
from tslc.adapters.archive_file import VerifiedArchive, open_archive
from tslc.domain.archive_spec import SPEC_NAME, HubWeights
from tslc.domain.manifest import MANIFEST_NAME
from tslc.domain.quick_run import hub_weights
from tslc.domain.weights import CONFIG
from tslc.errors import BadInput

_ARCHIVES = (".mar", ".tgz", ".tar.gz")


@dataclass(frozen=True)
class FolderSource:
    """A Hugging Face folder."""

    path: Path


@dataclass(frozen=True)
class HubSource:
    """A model of the Hugging Face hub; `cache`: where to keep it, None for the hub's own."""

    weights: HubWeights
    cache: Path | None

    def __str__(self) -> str:
        return str(self.weights)


@dataclass(frozen=True)
class SpecSource:
    """A folder with an archive.yaml."""

    path: Path


@dataclass(frozen=True)
class BuiltSource:
    archive: VerifiedArchive


Source = FolderSource | HubSource | SpecSource | BuiltSource


def find_source(said: str, engine: Mapping[str, object]) -> Source:
    """What `said` names; an archive is verified. Raises BadInput (BadFile) when it is nothing.

    `engine`: the engine's arguments; `download_dir` among them is where a model of the hub is kept.
    """
    path = source_files.absolute(Path(said).expanduser())
    if source_files.is_folder(path):
        return _folder(path)
    if source_files.exists(path):
        return SpecSource(path) if path.name == SPEC_NAME else _built(path)
    if said.endswith(_ARCHIVES):
        raise BadInput(f"no archive {said}", hint="tslc build archives/NAME --version 1.0.0")
    if (hub := hub_weights(said)) and not said.startswith(("/", ".", "~")):
        cache = engine.get("download_dir")
        return HubSource(hub, Path(str(cache)) if cache else None)
    raise BadInput(
        f"{said} is no folder or archive here, and no name of the Hugging Face hub",
        hint="tslc run FOLDER, ARCHIVE.mar or ORG/NAME[@REVISION]",
    )


def _folder(path: Path) -> Source:
    if source_files.exists(path / SPEC_NAME):
        return SpecSource(path)
    if source_files.exists(path / MANIFEST_NAME):
        return _built(path)
    if source_files.exists(path / CONFIG):
        return FolderSource(path)
    raise BadInput(
        f"{path} holds no model: none of {CONFIG}, {SPEC_NAME}, {MANIFEST_NAME}",
        hint="name a Hugging Face model folder, an archive's spec or a built archive",
    )


def _built(path: Path) -> BuiltSource:
    return BuiltSource(open_archive(path))
