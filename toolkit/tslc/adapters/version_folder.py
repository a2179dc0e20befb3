"""A version on disk: the folder a pull makes, and the files a push sends.

The folder appears whole, by a rename, or not at all. Its files are links into the content cache.
"""

from __future__ import annotations

import filecmp
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tslc.adapters import archive_layout
from tslc.adapters.archive_file import VerifiedArchive, unpack
from tslc.adapters.archiver import publish, scratch_beside
from tslc.adapters.content_cache import ContentCache
from tslc.domain.archive_name import ArchiveFormat, archive_name
from tslc.domain.store_layout import ARCHIVE, MANIFEST, SIGNATURE
from tslc.domain.store_manifest import Kind, StoreManifest
from tslc.errors import BadFile, Refused, TslcError


@contextmanager
def unpacked(archive: VerifiedArchive) -> Iterator[dict[str, Path]]:
    """The archive's files by their paths in it, in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="tslc-push.") as scratch:
        root = Path(scratch, "content")
        try:
            unpack(archive, root)
        except OSError as error:
            raise TslcError(f"can't unpack {archive.path}: {error.strerror}") from None
        yield {p.relative_to(root).as_posix(): p for p in root.rglob("*") if p.is_file()}


def packed_name(manifest: StoreManifest) -> str | None:
    """The .mar that a pull packs from the files; None when a file is the archive already."""
    match manifest.kind:
        case Kind.TSLC:
            return archive_name(manifest.model, manifest.version, ArchiveFormat.MAR)
        case Kind.FOREIGN:
            return None


def place_version(
    target: Path, manifest: StoreManifest, signature: bytes | None, cache: ContentCache
) -> bool:
    """Make the folder from contents that are in the cache, verified and leased.

    Returns whether anything changed: a folder that holds just this is left as it is.
    """
    with scratch_beside(target) as scratch:
        made = scratch / "version"
        made.mkdir()
        for path, entry in manifest.files.items():
            cache.link(entry.sha256, made / path)
        (made / MANIFEST).write_bytes(manifest.render())
        if signature is not None:
            (made / SIGNATURE).write_bytes(signature)
        if name := packed_name(manifest):
            files = {path: made / ARCHIVE / path for path in manifest.below(ARCHIVE)}
            archive_layout.write_zip(files, made / name)
            (made / name).chmod(archive_layout.FILE_MODE)
        if target.is_dir() and _same(made, target):
            return False
        if target.exists():
            _expect_pulled(target, manifest)
        publish(made, target)
    return True


def _expect_pulled(target: Path, manifest: StoreManifest) -> None:
    """Raises Refused for a folder that no pull of this version made, or that holds more."""
    hint = "move it, or name another folder"
    named = (manifest.model, manifest.version)
    try:
        known = StoreManifest.parse((target / MANIFEST).read_bytes(), str(target))
    except (OSError, BadFile):
        known = None
    if known is None or (known.model, known.version) != named:
        raise Refused(f"{target} is in the way, and no pull of this version made it", hint=hint)
    made = {*known.files, MANIFEST, SIGNATURE, packed_name(known)}
    if more := sorted(_tree(target).keys() - made):
        others = f" and {len(more) - 3} more" if more[3:] else ""
        shown = ", ".join(more[:3])
        raise Refused(f"{target} holds what no pull put there: {shown}{others}", hint=hint)


def signature_beside(archive: Path) -> bytes | None:
    """The signature in the folder of a pulled version that the archive lies in."""
    folder = archive.absolute().parent
    if not (folder / MANIFEST).is_file():
        return None
    try:
        return (folder / SIGNATURE).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TslcError(f"can't read {folder / SIGNATURE}: {error.strerror}") from None


def _same(one: Path, other: Path) -> bool:
    files, others = _tree(one), _tree(other)
    return files.keys() == others.keys() and all(
        files[path].samefile(others[path]) or filecmp.cmp(files[path], others[path], shallow=False)
        for path in files
    )


def _tree(folder: Path) -> Mapping[str, Path]:
    return {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }


def free_bytes(folder: Path) -> int:
    """Free space where the folder is, or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
