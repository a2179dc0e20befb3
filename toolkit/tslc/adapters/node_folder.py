"""A node's folder on disk: what `tslc up` writes there and what the other verbs read."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from tslc.adapters.scratch import scratch_folder
from tslc.domain.node import NodePaths, NodeState
from tslc.errors import BadInput, Refused

_SAYS_NOTHING = re.compile(r"\s*|\s+at [\w.$/<>]+\(.*\)|\s+\.\.\. \d+ more")


@contextlib.contextmanager
def _usable(folder: Path) -> Iterator[None]:
    """The one place where a folder that can't be used becomes an error with a way out."""
    try:
        yield
    except OSError as error:
        raise BadInput(
            f"can't use {folder}: {error.strerror or error}",
            hint="export TSLC_HOME=FOLDER   # one you can write to",
        ) from None


def read_state(paths: NodePaths) -> NodeState | None:
    """What the node remembers; None when there has been no such node."""
    with _usable(paths.root):
        try:
            text = paths.state.read_text("utf-8")
        except FileNotFoundError:
            return None
    return NodeState.parse(text, str(paths.state))


def write_state(paths: NodePaths, state: NodeState) -> None:
    write_atomically(paths.state, state.render())


def write_stopped(paths: NodePaths) -> None:
    """Remember that the node is not up; a node that has never been is left alone."""
    if (state := read_state(paths)) and state.pid is not None:
        write_state(paths, replace(state, pid=None, created=None))


def write_atomically(path: Path, text: str) -> None:
    """A reader sees the old file or the new one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with _usable(path.parent):
        beside.write_text(text, "utf-8")
        beside.replace(path)


def make_folders(paths: NodePaths) -> None:
    """The node's folders, its own to read and nobody else's."""
    with _usable(paths.root):
        paths.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        paths.root.chmod(0o700)
        for folder in paths.folders:
            folder.mkdir(mode=0o700, exist_ok=True)
            folder.chmod(0o700)


def empty(folder: Path) -> None:
    """Delete what is in a folder; links are deleted, never followed."""
    with _usable(folder), contextlib.suppress(FileNotFoundError):
        for entry in list(folder.iterdir()):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)


@contextlib.contextmanager
def scratch(paths: NodePaths) -> Iterator[Path]:
    """An empty folder on the node's file system, gone afterwards."""
    with contextlib.ExitStack() as stack:
        with _usable(paths.root):
            folder = stack.enter_context(scratch_folder(paths.root, ".scratch."))
        yield folder


@contextlib.contextmanager
def locked(paths: NodePaths) -> Iterator[None]:
    """One `tslc up` or `tslc down` of a node at a time; the lock dies with its process."""
    with _locked(paths, paths.root / ".lock", "starting or stopping it"):
        yield


@contextlib.contextmanager
def version_locked(paths: NodePaths, model: str, version: str) -> Iterator[None]:
    """One `tslc register` or `tslc unregister` of a version at a time.

    The lock lies in tmp, which a stopped node has no use for.
    """
    name = quote(f".lock.{model}@{version}", safe="@")
    with _locked(paths, paths.tmp / name, f"registering or unregistering {model} {version}"):
        yield


@contextlib.contextmanager
def content_locked(paths: NodePaths) -> Iterator[None]:
    """One command at a time puts archives and weights into the node, or takes them out; waits."""
    with _usable(paths.root):
        descriptor = os.open(paths.root / ".content.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _locked(paths: NodePaths, path: Path, doing: str) -> Iterator[None]:
    with _usable(paths.root):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(
                f"another command works on node '{paths.name}': {doing}",
                hint=f"tslc status --name {paths.name}   # when it is done",
            ) from None
        yield
    finally:
        os.close(descriptor)


def exists(paths: NodePaths) -> bool:
    with _usable(paths.root):
        return paths.root.is_dir()


def remove(path: Path) -> None:
    with _usable(path.parent):
        path.unlink(missing_ok=True)


def last_lines(path: Path, count: int) -> tuple[str, ...]:
    """The last lines of a log that say something, as the frames of Java's stack traces don't; none
    when there is no log."""
    try:
        lines = path.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    return tuple(line for line in lines if not _SAYS_NOTHING.fullmatch(line))[-count:]
