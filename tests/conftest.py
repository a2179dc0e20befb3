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

_E2E = "tests/e2e/"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A test marked `alone` waits until the tests of the run's other processes have ended, and they
    for it.

    Its fixtures too; fixtures of others that outlive a test stay up. The wait counts neither for
    the test's time nor for its timeout.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    # xdist gives each process a folder in that of the run.
    run = Path(item.config.option.basetemp).parent
    is_alone = item.get_closest_marker("alone") is not None
    with _in_the_room(run, fcntl.LOCK_EX if is_alone else fcntl.LOCK_SH):
        return (yield)


@contextmanager
def _in_the_room(run: Path, kind: int) -> Iterator[None]:
    """Who wants it for itself keeps the door shut while it waits: others can't slip in for ever."""
    room = os.open(run, os.O_RDONLY)
    try:
        door = os.open(run / "door", os.O_RDONLY | os.O_CREAT)
        try:
            fcntl.flock(door, fcntl.LOCK_EX)
            fcntl.flock(room, kind)
        finally:
            os.close(door)
        yield
    finally:
        os.close(room)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Tests one by one to whichever process is free, those of tests/e2e all to the same one: their
    version takes half a minute to load, and two of them all of the machine.

    Not `--dist loadgroup`: xdist 3.8 writes groups into node ids where pytest 9.2 doesn't look for
    them, and then it groups nothing and says nothing (pytest-xdist, issue 1386).
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _E2E if nodeid.startswith(_E2E) else nodeid

    return Scheduling(config, log)
