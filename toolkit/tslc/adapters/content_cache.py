"""Contents by their SHA-256 on this machine, shared by all versions and all processes.

    sha256/<hex>           a whole content, verified before it got its name; read-only
    partial/<hex>          one that is being fetched; partial/<hex>.done says which segments it has
    leases/<id>            the contents a process is about to use; locked as long as it lives

Versions are hard links to the contents. Eviction takes the least recently used ones first, and
never one that a living process leases or that a version still links to (that would free nothing).
Everything here may be killed at any line: locks are the kernel's and end with their process.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tslc.adapters.partial_content import PartialContent
from tslc.domain.cache_plan import CachedContent, plan_eviction
from tslc.errors import TslcError

_CHUNK = 4 * 1024 * 1024
_READ_ONLY = 0o444
_ABANDONED_SECONDS = 7 * 24 * 3600


class ContentCache:
    """`max_size` in bytes."""

    def __init__(self, folder: Path, max_size: int) -> None:
        self.folder = folder
        self.max_size = max_size
        self._contents = folder / "sha256"
        self._partial = folder / "partial"
        self._leases = folder / "leases"
        with _told(folder):
            for one in (self._contents, self._partial, self._leases):
                one.mkdir(parents=True, exist_ok=True, mode=0o700)

    def path(self, sha256: str) -> Path:
        return self._contents / sha256

    @contextmanager
    def lease(self, digests: Iterable[str]) -> Iterator[None]:
        """While this lasts, none of the contents is evicted, there already or put in meanwhile."""
        name = self._leases / uuid.uuid4().hex
        with _told(self.folder), self._gate():
            # No eviction looks at leases while one is half made.
            file = name.open("w")
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write("\n".join(digests))
            file.flush()
        try:
            yield
        finally:
            name.unlink(missing_ok=True)
            file.close()

    def find(self, sha256: str, size: int) -> Path | None:
        """A content that is there and still is what it is called; a spoilt one is removed."""
        path = self.path(sha256)
        try:
            status = path.stat()
            if status.st_size == size and hash_of(path) == sha256:
                os.utime(path, ns=(time.time_ns(), status.st_mtime_ns))
                return path
            path.unlink(missing_ok=True)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise TslcError(f"{path}: {error.strerror}") from None
        return None

    def sizes(self, digests: Iterable[str]) -> dict[str, int]:
        """The sizes of those that are there, unverified."""
        found = {}
        for sha256 in digests:
            try:
                found[sha256] = self.path(sha256).stat().st_size
            except FileNotFoundError:
                continue
        return found

    def reserved(self, sizes: Mapping[str, int]) -> int:
        """Bytes of the disk that fetches which were cut short have taken for these contents."""
        total = 0
        for sha256, size in sizes.items():
            with suppress(FileNotFoundError):
                total += size if (self._partial / sha256).stat().st_size == size else 0
        return total

    @contextmanager
    def partial(self, sha256: str, size: int) -> Iterator[PartialContent]:
        """The content being fetched; another process that fetches the same one waits here."""
        with _told(self.folder), PartialContent(self._partial / sha256, size) as part:
            yield part

    def place(self, part: PartialContent, sha256: str) -> Path:
        """Give a verified content its name."""
        with _told(self.folder):
            part.path.chmod(_READ_ONLY)
            part.path.replace(self.path(sha256))
            part.forget()
        return self.path(sha256)

    def link(self, sha256: str, target: Path) -> None:
        """A hard link to a content; on another file system a copy, verified on its way."""
        with _told(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                target.hardlink_to(self.path(sha256))
                return
            except OSError as error:
                if isinstance(error, FileNotFoundError | FileExistsError):
                    raise
            _copy(self.path(sha256), target, sha256)

    def evict(self, room: int = 0) -> int:
        """Bring the cache below its size, with `room` more bytes to come; returns bytes freed."""
        with _told(self.folder), self._gate():
            plan = plan_eviction(self._listing(), self._leased(), self.max_size - room)
            for one in plan:
                self.path(one.sha256).unlink(missing_ok=True)
        self._forget_abandoned()
        return sum(one.size for one in plan)

    def _forget_abandoned(self) -> None:
        """Fetches that nobody went on with for a week."""
        oldest = time.time() - _ABANDONED_SECONDS
        with _told(self.folder):
            for path in self._partial.glob("*.done"):
                whole = path.with_suffix("")
                with suppress(FileNotFoundError):  # another process is done with it
                    if path.stat().st_mtime < oldest:
                        with PartialContent(whole, whole.stat().st_size) as part:
                            part.forget()

    @contextmanager
    def _gate(self) -> Iterator[None]:
        with (self.folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _listing(self) -> Iterator[CachedContent]:
        for entry in os.scandir(self._contents):
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:  # found spoilt by another process
                continue
            yield CachedContent(entry.name, status.st_size, status.st_atime, status.st_nlink > 1)

    def _leased(self) -> set[str]:
        """What living processes lease; what is left of dead ones is removed."""
        leased: set[str] = set()
        for path in self._leases.iterdir():
            try:
                with path.open("r") as file:
                    try:
                        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                        path.unlink(missing_ok=True)
                    except BlockingIOError:
                        leased.update(file.read().split())
            except FileNotFoundError:
                continue
        return leased


def hash_of(path: Path, advance: Callable[[int], None] = lambda _: None) -> str:
    """64 hex digits of a file's SHA-256."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            advance(len(chunk))
    return digest.hexdigest()


def _copy(source: Path, target: Path, sha256: str) -> None:
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".part.")
    try:
        with os.fdopen(handle, "wb") as sink, source.open("rb") as file:
            shutil.copyfileobj(file, sink, _CHUNK)
        if hash_of(Path(name)) != sha256:
            raise TslcError(f"{source} changed while it was copied", hint="run the command again")
        Path(name).chmod(_READ_ONLY)
        Path(name).replace(target)
    finally:
        Path(name).unlink(missing_ok=True)


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename or folder
        raise TslcError(
            f"{where}: {error.strerror or error}", hint="tslc config   # the rows cache.*"
        ) from None
