"""The node's model store: archives by file name, and links to the weights they name by digest."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tslc.adapters.archive_file import VerifiedArchive, built_by_others, open_archive
from tslc.adapters.archive_readers import format_of
from tslc.adapters.archiver import link_weights, publish
from tslc.adapters.source_files import exists, is_folder
from tslc.domain.archive_name import ArchiveFormat, archive_name
from tslc.domain.manifest import MANIFEST_NAME
from tslc.domain.store_layout import MANIFEST, WEIGHTS
from tslc.errors import TslcError


def find_archives(model: str, version: str, folders: Iterable[Path]) -> tuple[Path, ...]:
    """Every archive called like that version, in the order of the folders."""
    names = [archive_name(model, version, one) for one in ArchiveFormat]
    found = (folder / name for folder in folders for name in names)
    return tuple(dict.fromkeys(archive_in(path) for path in found if exists(path)))


def archive_in(path: Path) -> Path:
    """The archive in the folder that a pull made, or the path itself."""
    if (path / MANIFEST).is_file() and not (path / MANIFEST_NAME).exists():
        packed = sorted(path.glob("*.mar"))
        return packed[0] if len(packed) == 1 else path
    return path


def find_weights(hex_digest: str, places: Iterable[Path]) -> Path | None:
    """The first of the folders `<place>/<hex>` that exists, links resolved."""
    for place in places:
        folder = place / hex_digest
        if is_folder(folder):
            return folder.resolve()
    return None


def weights_beside(archive: Path, hex_digest: str) -> Path | None:
    """The weights of an archive that lie where a build links them, or where a pull puts them."""
    folder = archive.absolute().parent
    if found := find_weights(hex_digest, [folder / "weights"]):
        return found
    pulled = folder / WEIGHTS
    return pulled if (folder / MANIFEST).is_file() and is_folder(pulled) else None


def file_name(archive: Path, model: str, version: str) -> str:
    """What an archive is called in the model store, whatever it was called before.

    TorchServe unpacks by the end of the name.
    """
    return archive_name(model, version, format_of(archive))


def place(verified: VerifiedArchive, model_store: Path, name: str) -> Path:
    """Put a copy of an archive into the model store, replacing what has its name.

    The copy is verified before it counts: no link, since who writes into the original later must
    not change what is registered. An archive that lies there already is left as it is.
    """
    archive, target = verified.path, model_store / name
    if archive.resolve() == target.resolve():
        return target
    try:
        with tempfile.TemporaryDirectory(dir=model_store, prefix=".place.") as scratch:
            part = Path(scratch, name)
            if archive.is_dir():
                shutil.copytree(archive, part, copy_function=shutil.copyfile)
            else:
                shutil.copyfile(archive, part)
            if open_archive(part).manifest.digest != verified.manifest.digest:
                hint = "run the command again"
                raise TslcError(f"{archive} changed while it was copied", hint=hint)
            if target.is_dir():
                target.rename(Path(scratch, "replaced"))
            part.replace(target)
    except OSError as error:
        raise TslcError(f"can't put {archive} into {model_store}: {error}") from error
    return target


def remove(target: Path) -> None:
    try:
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target, ignore_errors=True)
        else:
            target.unlink(missing_ok=True)
    except OSError as error:
        raise TslcError(f"can't delete {target}: {error.strerror or error}") from error


def place_weights(folder: Path, weights: Path, hex_digest: str) -> Path | None:
    """Let `<weights>/<hex>` lead to the folder; that link, if there was none before."""
    link = weights / hex_digest
    fresh = not link.exists()
    if folder != link.resolve():
        try:
            link_weights(folder, link)
        except OSError as error:
            raise TslcError(f"can't link {folder} in {weights}: {error}") from error
    return link if fresh else None


def take_weights(folder: Path, weights: Path, hex_digest: str) -> Path | None:
    """Move a folder of verified weights to `<weights>/<hex>`; where it is, if none was there.

    A link there, or a folder, gives way to it.
    """
    target = weights / hex_digest
    fresh = not target.exists()
    try:
        if target.is_symlink():
            target.unlink()
        publish(folder, target)
    except OSError as error:
        raise TslcError(f"can't put the weights into {weights}: {error}") from error
    return target if fresh else None


def remove_archive(target: Path, weights: Path) -> None:
    """Delete an archive of the model store, and what lies in `weights` for it and no other.

    A link there goes; the weights it leads to stay.
    """
    named = None
    with contextlib.suppress(TslcError):  # one that is damaged goes as well
        named = open_archive(target).manifest.weights
    remove(target)
    if named is not None and not names_weights(target.parent, named.hex):
        remove(weights / named.hex)


def names_weights(model_store: Path, hex_digest: str) -> bool:
    """Whether an archive in the model store names the weights of that digest, or may do so."""
    for path in sorted(model_store.glob("[!.]*")):
        try:
            weights = open_archive(path).manifest.weights
        except TslcError:
            if built_by_others(path):
                continue
            return True
        if weights is not None and weights.hex == hex_digest:
            return True
    return False
