"""The lines of a log as they are written, also across the change to a new file."""

from __future__ import annotations

from pathlib import Path


class LogFollower:
    """Each line once, when it is complete. A file that is not there yet has no lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = 0
        self._read = 0
        self._rest = b""

    def lines(self) -> tuple[str, ...]:
        """The lines since the last call."""
        try:
            about = self._path.stat()
            if about.st_ino != self._inode or about.st_size < self._read:
                self._inode, self._read, self._rest = about.st_ino, 0, b""
            with self._path.open("rb") as log:
                log.seek(self._read)
                new = log.read()
        except FileNotFoundError:
            return ()
        self._read += len(new)
        *complete, self._rest = (self._rest + new).split(b"\n")
        return tuple(line.decode("utf-8", errors="replace") for line in complete)
