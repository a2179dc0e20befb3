"""A node's folder on disk: what `tslc up` writes there and what the other verbs read."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tslc.domain.node import NodePaths, NodeState
from tslc.errors import Refused


def read_state(paths: NodePaths) -> NodeState | None:
    """What the node remembers; None when there has been no such node."""
    try:
        text = paths.state.read_text("utf-8")
    except FileNotFoundError:
        return None
    return NodeState.parse(text, str(paths.state))


def write_state(paths: NodePaths, state: NodeState) -> None:
    write_atomically(paths.state, state.render())


def write_atomically(path: Path, text: str) -> None:
    """A reader sees the old file or the new one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text, "utf-8")
    beside.replace(path)


def make_folders(paths: NodePaths) -> None:
    """The node's folders, its own to read and nobody else's."""
    paths.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    paths.root.chmod(0o700)
    for folder in paths.folders:
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)


def empty(folder: Path) -> None:
    """Delete what is in a folder; links are deleted, never followed."""
    with contextlib.suppress(FileNotFoundError):
        for entry in list(folder.iterdir()):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(paths: NodePaths) -> Iterator[None]:
    """One `tslc up` or `tslc down` of a node at a time; the lock dies with its process."""
    paths.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(paths.root / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(
                f"another command is starting or stopping node '{paths.name}'",
                hint=f"tslc status --name {paths.name}   # when it is done",
            ) from None
        yield
    finally:
        os.close(descriptor)


def exists(paths: NodePaths) -> bool:
    return paths.root.is_dir()


def remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def last_lines(path: Path, count: int) -> tuple[str, ...]:
    """The last lines of a log; none when there is no log."""
    try:
        lines = path.read_text("utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return ()
    return tuple(line for line in lines if line.strip())[-count:]
