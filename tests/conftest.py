"""What holds for all tests: on both cores, and which of them have the machine for themselves."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# A shell that starts the tests in the background has them ignore Ctrl-C, and every command they
# start inherits that; some tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The tests start `tslc` more than a thousand times: it is compiled once, whatever the shell says.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Locked, never written: two things on the disk that every process of a run has in common.
_DOOR, _ROOM = Path(__file__), Path(__file__).parent


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A test marked `alone` waits until the other processes' tests have ended, and they for it.

    Its fixtures too; fixtures of others that outlive a test stay up. The wait counts neither for
    the test's time nor for its timeout. Who wants the room for itself keeps the door shut while it
    waits: others can't slip in for ever.
    """
    is_alone = item.get_closest_marker("alone") is not None
    with _in_the_room(fcntl.LOCK_EX if is_alone else fcntl.LOCK_SH):
        return (yield)


@contextmanager
def _in_the_room(kind: int) -> Iterator[None]:
    room = os.open(_ROOM, os.O_RDONLY)
    try:
        door = os.open(_DOOR, os.O_RDONLY)
        try:
            fcntl.flock(door, fcntl.LOCK_EX)
            fcntl.flock(room, kind)
        finally:
            os.close(door)
        yield
    finally:
        os.close(room)
