"""Reading what an archive is built from: texts, folders of files, weights folders.

Decides nothing about the content. What can't be read is `Unreadable`, with the reason.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tslc.domain.weights import CONFIG, INDEX, WeightsFolder
from tslc.errors import BadInput

MAX_TEXT = 16 * 1024 * 1024


class Unreadable(BadInput):
    """A file or folder that can't be read: `.message` says why, `.hint` how to mend it."""


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Whatever the system says against looking at `path` (or at what it contains) is Unreadable."""
    try:
        yield
    except OSError as error:
        where = error.filename if isinstance(error.filename, str) else path
        problem = f"{where}: {error.strerror or error}"
        raise Unreadable(problem, hint="make it readable, or name another") from None


def read_text(path: Path) -> str:
    """A UTF-8 text of at most 16 MiB; raises Unreadable."""
    try:
        with readable(path):
            if not path.is_file():
                raise Unreadable(f"no file {path}", hint="make it, or name another")
            with path.open("rb") as file:
                content = file.read(MAX_TEXT + 1)
        if len(content) > MAX_TEXT:
            raise Unreadable(f"{path} is over 16 MiB", hint="is it the right file?")
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise Unreadable(f"{path} is not UTF-8 text", hint="save it as UTF-8") from None


def is_folder(path: Path) -> bool:
    with readable(path):
        return path.is_dir()


def exists(path: Path) -> bool:
    with readable(path):
        return path.exists() or path.is_symlink()


def absolute(path: Path) -> Path:
    """Absolute, without resolving links."""
    return Path(os.path.abspath(path))  # noqa: PTH100 (Path.absolute keeps "..")


def tidy(path: Path) -> Path:
    """The path without `x/..` in it, where that is the same file."""
    short = Path(os.path.normpath(path))
    try:
        return short if short.samefile(path) else path
    except OSError:
        return path


def files_of(path: Path, root: Path | None = None) -> dict[str, Path]:
    """A file, or the files of a folder, by the path they get in an archive: below their own name.

    Python's caches are left out. Raises Unreadable for what an archive can't carry (links to
    folders, sockets, hidden folders, which torch-model-archiver would leave out unsaid), and for
    links that leave the folder `root`.
    """
    with readable(path):
        if path.is_file():
            found = {path.name: path}
        elif path.is_dir():
            found = {f"{path.name}/{name}": file for name, file in _walk(path)}
        else:
            raise Unreadable(f"no file or folder {path}", hint="make it, or name another")
        if root is not None:
            for file in found.values():
                _check_inside(file, root)
        return found


def _check_inside(file: Path, root: Path) -> None:
    """A path may say `..`; a link may not, since nobody sees where it leads."""
    real, below = file.resolve(), root.resolve()
    said = below / os.path.relpath(absolute(file), absolute(root))
    if real != Path(os.path.normpath(said)) and not real.is_relative_to(below):
        hint = "copy what it leads to, or name that itself"
        raise Unreadable(f"{file} is a link that leaves {root}: it leads to {real}", hint=hint)


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    for parent, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in folders:
            child = Path(parent, name)
            _refuse_link(child)
            if name.startswith(".") or name == "__MACOSX":
                raise Unreadable(f"{child} is a hidden folder", hint="move it out, or rename it")
        for name in sorted(names):
            child = Path(parent, name)
            if name.endswith(".pyc"):
                continue
            if not stat.S_ISREG(child.stat().st_mode):
                raise Unreadable(f"{child} is no regular file", hint="move it out")
            yield child.relative_to(folder).as_posix(), child


def _refuse_link(folder: Path) -> None:
    if folder.is_symlink():
        raise Unreadable(f"{folder} is a link to a folder", hint="copy the folder, or remove it")


def _raise(error: OSError) -> None:
    raise error


def weights_files(folder: Path) -> dict[str, Path]:
    """Every file below a weights folder but hidden ones; links to files are followed (hub
    snapshots), links to folders are refused."""
    files: dict[str, Path] = {}
    with readable(folder):
        for parent, folders, names in os.walk(folder, onerror=_raise):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in folders:
                _refuse_link(Path(parent, name))
            for name in names:
                path = Path(parent, name)
                if not name.startswith(".") and stat.S_ISREG(path.stat().st_mode):
                    files[path.relative_to(folder).as_posix()] = path
    return files


def read_weights_folder(folder: Path) -> WeightsFolder:
    """What the folder looks like; raises Unreadable when it is no folder."""
    if not is_folder(folder):
        raise Unreadable(f"no folder {folder}", hint="name a folder with the model's weights")
    files = weights_files(folder)
    with readable(folder):
        return WeightsFolder(
            sizes={path: file.stat().st_size for path, file in files.items()},
            heads={p: _head(f, 8) for p, f in files.items() if p.endswith(".safetensors")},
            config=_head(files[CONFIG], MAX_TEXT) if CONFIG in files else None,
            index=_head(files[INDEX], 8 * MAX_TEXT) if INDEX in files else None,
        )


def _head(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size)
