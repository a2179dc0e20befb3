"""Reading what an archive is built from: texts, folders of files, weights folders.

Decides nothing about the content. What can't be read is `Unreadable`, with the reason.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from tslc.domain.weights import CONFIG, INDEX, WeightsFolder
from tslc.errors import BadInput

MAX_TEXT = 16 * 1024 * 1024


class Unreadable(BadInput):
    """A file or folder that can't be read: `.message` says why, `.hint` how to mend it."""


def read_text(path: Path) -> str:
    """A UTF-8 text of at most 16 MiB; raises Unreadable."""
    try:
        if not path.is_file():
            raise Unreadable(f"no file {path}", hint="make it, or name another")
        with path.open("rb") as file:
            content = file.read(MAX_TEXT + 1)
        if len(content) > MAX_TEXT:
            raise Unreadable(f"{path} is over 16 MiB", hint="is it the right file?")
        return content.decode("utf-8")
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}", hint="make it readable") from None
    except UnicodeDecodeError:
        raise Unreadable(f"{path} is not UTF-8 text", hint="save it as UTF-8") from None


def is_folder(path: Path) -> bool:
    return path.is_dir()


def exists(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def absolute(path: Path) -> Path:
    """Absolute, without resolving links."""
    return Path(os.path.abspath(path))  # noqa: PTH100 (Path.absolute keeps "..")


def files_of(path: Path) -> dict[str, Path]:
    """A file, or the files of a folder, by the path they get in an archive: below their own name.

    Python's caches are left out. Raises Unreadable for what an archive can't carry: links to
    folders, sockets, hidden folders (torch-model-archiver would leave them out unsaid).
    """
    if path.is_file():
        return {path.name: path}
    if not path.is_dir():
        raise Unreadable(f"no file or folder {path}", hint="make it, or name another")
    try:
        return {f"{path.name}/{name}": file for name, file in _walk(path)}
    except OSError as error:
        raise Unreadable(f"{error.filename}: {error.strerror}", hint="make it readable") from None


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    for parent, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in folders:
            child = Path(parent, name)
            if child.is_symlink():
                raise Unreadable(f"{child} is a link to a folder", hint="copy the folder")
            if name.startswith(".") or name == "__MACOSX":
                raise Unreadable(f"{child} is a hidden folder", hint="move it out, or rename it")
        for name in sorted(names):
            child = Path(parent, name)
            if name.endswith(".pyc"):
                continue
            if not stat.S_ISREG(child.stat().st_mode):
                raise Unreadable(f"{child} is no regular file", hint="move it out")
            yield child.relative_to(folder).as_posix(), child


def _raise(error: OSError) -> None:
    raise error


def weights_files(folder: Path) -> dict[str, Path]:
    """Every file below a weights folder but hidden ones; links are followed (hub snapshots)."""
    files: dict[str, Path] = {}
    try:
        for parent, folders, names in os.walk(folder, onerror=_raise):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in names:
                path = Path(parent, name)
                if not name.startswith(".") and stat.S_ISREG(path.stat().st_mode):
                    files[path.relative_to(folder).as_posix()] = path
    except OSError as error:
        raise Unreadable(f"{error.filename}: {error.strerror}", hint="make it readable") from None
    return files


def read_weights_folder(folder: Path) -> WeightsFolder:
    """What the folder looks like; raises Unreadable when it is no folder."""
    if not folder.is_dir():
        raise Unreadable(f"no folder {folder}", hint="name a folder with the model's weights")
    files = weights_files(folder)
    try:
        return WeightsFolder(
            sizes={path: file.stat().st_size for path, file in files.items()},
            heads={p: _head(f, 8) for p, f in files.items() if p.endswith(".safetensors")},
            config=_head(files[CONFIG], MAX_TEXT) if CONFIG in files else None,
            index=_head(files[INDEX], 8 * MAX_TEXT) if INDEX in files else None,
        )
    except OSError as error:
        raise Unreadable(f"{error.filename}: {error.strerror}", hint="make it readable") from None


def _head(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size)
