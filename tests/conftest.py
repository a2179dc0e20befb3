"""What holds for all tests: on both cores, and which of them have the machine for themselves."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

# A shell that starts the tests in the background has them ignore Ctrl-C, and every command they
# start inherits that; some tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The tests start `tslc` more than a thousand times: it is compiled once, whatever the shell says.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

_ROOM = pytest.StashKey[int]()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """While a test marked `alone` runs, no other process of the run does anything.

    Only while it runs: fixtures, its own too, come and go beside others, and those that outlive a
    test stay up.
    """
    if (run := _run_folder(item)) is None:
        return (yield)
    with _in_the_room(run, fcntl.LOCK_SH) as room:
        item.stash[_ROOM] = room
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """The wait for the others counts for the test's timeout."""
    run = _run_folder(item)
    if run is None or item.get_closest_marker("alone") is None:
        return (yield)
    fcntl.flock(item.stash[_ROOM], fcntl.LOCK_UN)
    try:
        with _in_the_room(run, fcntl.LOCK_EX):
            return (yield)
    finally:
        _enter(run, item.stash[_ROOM], fcntl.LOCK_SH)


def _run_folder(item: pytest.Item) -> Path | None:
    """xdist gives each process a folder in that of the run."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return None
    return Path(item.config.option.basetemp).parent


@contextmanager
def _in_the_room(run: Path, kind: int) -> Iterator[int]:
    room = os.open(run, os.O_RDONLY)
    try:
        _enter(run, room, kind)
        yield room
    finally:
        os.close(room)


def _enter(run: Path, room: int, kind: int) -> None:
    """Who wants it for itself keeps the door shut while it waits: others can't slip in for ever."""
    door = os.open(run / "door", os.O_RDONLY | os.O_CREAT)
    try:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, kind)
    finally:
        os.close(door)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Unit tests one by one to whichever process is free; the others as `_scope` says.

    Not `--dist loadgroup`: xdist 3.8 writes groups into node ids where pytest 9.2 doesn't look for
    them, and then it groups nothing and says nothing (pytest-xdist, issue 1386).
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _scope(nodeid)

    return Scheduling(config, log)


def _scope(nodeid: str) -> str:
    """What shares something expensive (a store, a node, a loaded model) goes to one process: making
    it twice costs more than dividing saves, and two vLLMs are all of the machine."""
    if nodeid.startswith("tests/e2e/"):
        return "tests/e2e/"
    return nodeid.split("::")[0] if nodeid.startswith("tests/integration/") else nodeid
