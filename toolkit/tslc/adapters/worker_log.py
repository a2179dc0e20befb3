"""TorchServe's logs, read from a mark on: what was written since a load began."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class LogMark:
    """A place in a log file that grows, and that is replaced by an empty one when it is large."""

    path: Path
    inode: int
    size: int

    @classmethod
    def at_end(cls, path: Path) -> LogMark:
        try:
            about = path.stat()
        except FileNotFoundError:
            return cls(path, 0, 0)
        return cls(path, about.st_ino, about.st_size)

    def since(self) -> tuple[str, ...]:
        """The lines written after the mark. After a change of files, those of the new file."""
        try:
            with self.path.open("rb") as log:
                end = self.at_end(self.path)
                if end.inode == self.inode and end.size >= self.size:
                    log.seek(self.size)
                return tuple(log.read().decode("utf-8", errors="replace").splitlines())
        except FileNotFoundError:
            return ()
