"""A content that is being fetched, segment by segment, by one process at a time.

Which segments are complete is noted beside it, so that a fetch that was killed goes on where it
was. The notes are only hints: the whole is hashed before anyone believes it.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

SEGMENT = 32 * 1024 * 1024


def lock_file(path: Path) -> int:
    """A descriptor of the locked file; waits. Who waited for a file now gone takes the new one."""
    while True:
        locked = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(locked, fcntl.LOCK_EX)
        try:
            if os.fstat(locked).st_ino == path.stat().st_ino:
                return locked
        except FileNotFoundError:
            pass
        os.close(locked)


class PartialContent:
    """Entering it waits until no other process holds it. Segments may be written from threads."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size
        self.count = -(-size // SEGMENT)
        self._notes = path.with_name(f"{path.name}.done")
        self._lock = path.with_name(f"{path.name}.lock")

    def __enter__(self) -> PartialContent:
        self._locked = lock_file(self._lock)
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        os.close(self._file)
        os.close(self._noted)
        os.close(self._locked)

    def _open(self) -> None:
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        self._noted = os.open(self._notes, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        if os.fstat(self._file).st_size != self.size:
            os.ftruncate(self._noted, 0)
            os.ftruncate(self._file, self.size)

    def missing(self) -> tuple[int, ...]:
        """The segments that are not complete, in order."""
        text = os.pread(self._noted, os.fstat(self._noted).st_size, 0).decode("ascii", "replace")
        # A line that was cut short by a kill has no end, and does not count.
        whole = text.splitlines()[: text.count("\n")]
        done = {int(line) for line in whole if line.isdecimal()}
        return tuple(number for number in range(self.count) if number not in done)

    def span(self, number: int) -> tuple[int, int]:
        """First byte of a segment, and the one behind its last."""
        return number * SEGMENT, min(self.size, (number + 1) * SEGMENT)

    def write(self, offset: int, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            written = os.pwrite(self._file, view, offset)
            offset, view = offset + written, view[written:]

    def note(self, number: int) -> None:
        """The segment is complete."""
        os.write(self._noted, f"{number}\n".encode("ascii"))

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Fill the buffer from there on; returns how many bytes there were."""
        return os.preadv(self._file, [buffer], offset)

    def empty(self) -> None:
        """Begin anew: what is there is not to be believed."""
        os.ftruncate(self._noted, 0)
        os.ftruncate(self._file, 0)
        os.ftruncate(self._file, self.size)

    def forget(self) -> None:
        """Leave nothing of the fetch behind."""
        self.path.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)
        self._lock.unlink(missing_ok=True)
