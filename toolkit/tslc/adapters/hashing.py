"""SHA-256 of many and big files: in parallel, with a cache of what was hashed before."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tslc.adapters.digest_cache import DigestCache
from tslc.domain.manifest import FileEntry
from tslc.errors import TslcError

CHUNK = 4 * 1024 * 1024
Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all, from any thread but one at a time."""


def hash_files(
    files: Mapping[str, Path],
    *,
    cache: DigestCache | None = None,
    progress: Progress | None = None,
) -> dict[str, FileEntry]:
    """The entry of each file, by the same keys; raises TslcError when one can't be read."""
    try:
        total = sum(path.stat().st_size for path in files.values())
        advance = _counter(total, progress)
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            entries = pool.map(lambda path: _hash_file(path, cache, advance), files.values())
            return dict(zip(files, entries, strict=True))
    except OSError as error:
        raise TslcError(f"{error.filename}: {error.strerror}") from None


def _counter(total: int, progress: Progress | None) -> Callable[[int], None]:
    lock = threading.Lock()
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        with lock:
            done += count
            if progress is not None:
                progress(done, total)

    return advance


def _hash_file(path: Path, cache: DigestCache | None, advance: Callable[[int], None]) -> FileEntry:
    with path.open("rb", buffering=0) as file:
        before = os.fstat(file.fileno())
        known = cache and cache.get(path, before)
        if known:
            advance(before.st_size)
            return FileEntry(known, before.st_size)
        digest = hashlib.sha256()
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            advance(len(chunk))
        after = os.fstat(file.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise TslcError(f"{path} changed while it was read", hint="run the command again")
    if cache:
        cache.put(path, after, digest.hexdigest())
    return FileEntry(digest.hexdigest(), after.st_size)
