"""Opening a built archive: nothing of it is used before every byte is verified.

Taken is only the layout that tslc itself writes (archive_layout), in a file of at most 2 GiB, with
paths below the root, without links, each digest as the manifest says. An archive is stored, not
deflated, so none can unpack to more than its own size.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tslc.adapters.archive_readers import Entry, read_entries
from tslc.adapters.archiver import ARCHIVER_MANIFEST
from tslc.domain.archive_contents import MODEL_CONFIG_NAME, archive_mistakes
from tslc.domain.manifest import MANIFEST_NAME, FileEntry, Manifest
from tslc.errors import BadFile, Mistake, TslcError

MAX_KEPT = 16 * 1024 * 1024
_REBUILD = "build or fetch the archive again"


@dataclass(frozen=True)
class VerifiedArchive:
    """An archive whose every file was as its manifest says when it was opened."""

    path: Path
    manifest: Manifest

    def read(self, name: str) -> bytes:
        """A file of at most 16 MiB, verified again.

        Raises BadFile when there is none of that name, or it changed meanwhile.
        """
        expected = self.manifest.files.get(name)
        if expected is None:
            raise BadFile(str(self.path), [Mistake(name, "not in the archive", _REBUILD)])
        if expected.size > MAX_KEPT:
            raise TslcError(f"{name} in {self.path} is too big to be read at once")
        for entry in _entries(self.path):
            if entry.path == name:
                content = b"".join(entry.chunks)
                _expect(self.path, name, expected, hashlib.sha256(content).hexdigest())
                return content
        raise BadFile(str(self.path), [Mistake(name, "gone since it was opened", _REBUILD)])

    def text(self, name: str) -> str:
        """A file that holds a text; raises BadFile also when it is not UTF-8."""
        try:
            return self.read(name).decode("utf-8")
        except UnicodeDecodeError:
            raise BadFile(str(self.path), [Mistake(name, "not UTF-8 text", _REBUILD)]) from None

    @property
    def golden(self) -> str:
        return self.text(self.manifest.golden)

    @property
    def model_config(self) -> str:
        return self.text(MODEL_CONFIG_NAME)


def open_archive(path: Path) -> VerifiedArchive:
    """Verify a .mar, .tar.gz or folder; raises BadFile with everything that is wrong."""
    found: dict[str, FileEntry] = {}
    kept: dict[str, bytes] = {}
    for entry in _entries(path):
        if entry.path in (MANIFEST_NAME, ARCHIVER_MANIFEST) and entry.size > MAX_KEPT:
            raise BadFile(str(path), [Mistake(entry.path, "over 16 MiB", _REBUILD)])
        digest = hashlib.sha256()
        for chunk in entry.chunks:
            digest.update(chunk)
            if entry.path in (MANIFEST_NAME, ARCHIVER_MANIFEST):
                kept[entry.path] = kept.get(entry.path, b"") + chunk
        if entry.path in found:
            raise BadFile(str(path), [Mistake(entry.path, "it is there twice", _REBUILD)])
        found[entry.path] = FileEntry(digest.hexdigest(), entry.size)
    if MANIFEST_NAME not in found:
        problem = f"no {MANIFEST_NAME}: not an archive that tslc built"
        raise BadFile(str(path), [Mistake("the archive", problem, "build it with `tslc build`")])
    del found[MANIFEST_NAME]
    manifest = Manifest.parse(kept.get(MANIFEST_NAME, b""), f"{path}: {MANIFEST_NAME}")
    mistakes = archive_mistakes(manifest, found, _json_object(kept.get(ARCHIVER_MANIFEST, b"")))
    if mistakes:
        raise BadFile(str(path), mistakes)
    return VerifiedArchive(path, manifest)


def built_by_others(path: Path) -> bool:
    """Whether an archive that `open_archive` does not take surely is none of ours."""
    if path.is_dir():
        return not (path / MANIFEST_NAME).exists()
    try:
        with zipfile.ZipFile(path) as archive:
            return MANIFEST_NAME not in archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


def unpack(archive: VerifiedArchive, folder: Path) -> None:
    """Write the content to a new folder, each file verified again on the way."""
    folder.mkdir(parents=True)
    for entry in _entries(archive.path):
        target = folder / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with target.open("xb") as file:
            for chunk in entry.chunks:
                digest.update(chunk)
                file.write(chunk)
        if entry.path == MANIFEST_NAME:
            content = archive.manifest.render()
            expected = FileEntry(hashlib.sha256(content).hexdigest(), len(content))
        else:
            expected = archive.manifest.files.get(entry.path, FileEntry("", 0))
        _expect(archive.path, entry.path, expected, digest.hexdigest())


def _entries(path: Path) -> Iterator[Entry]:
    try:
        yield from read_entries(path)
    except OSError as error:
        raise TslcError(f"can't read {path}: {error.strerror or error}") from None


def _expect(path: Path, name: str, expected: FileEntry, sha256: str) -> None:
    if sha256 != expected.sha256:
        raise BadFile(str(path), [Mistake(name, "changed since it was opened", _REBUILD)])


def _json_object(content: bytes) -> Mapping[str, object]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
