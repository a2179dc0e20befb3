"""Digests of big files hashed before: weights of many GB are read once, not at every build.

An entry holds for one path, inode, size, time of change of content and time of change of the inode
(which no tool can set back). Losing the cache costs time only, so it never fails.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

SMALLEST = 1024 * 1024
# A file changed within the clock's grain of being hashed could change again unseen.
SETTLED_SECONDS = 2.0


def cache_folder(environment: Mapping[str, str]) -> Path | None:
    """${XDG_CACHE_HOME:-~/.cache}/tslc/digests; None for a user without a home."""
    base = environment.get("XDG_CACHE_HOME")
    try:
        return Path(base or Path.home() / ".cache", "tslc", "digests")
    except RuntimeError:
        return None


class DigestCache:
    """Without a folder nothing is known and nothing kept."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def get(self, path: Path, status: os.stat_result) -> str | None:
        """The digest (64 hex digits) of an unchanged file, or None."""
        if self._folder is None or status.st_size < SMALLEST:
            return None
        try:
            entry = json.loads(_entry(self._folder, path).read_bytes())
        except (OSError, ValueError):
            return None
        if not isinstance(entry, dict):
            return None
        sha256 = entry.pop("sha256", None)
        return sha256 if isinstance(sha256, str) and entry == _key(path, status) else None

    def put(self, path: Path, status: os.stat_result, sha256: str) -> None:
        youngest = max(status.st_mtime, status.st_ctime)
        settled = time.time() - youngest >= SETTLED_SECONDS
        if self._folder is None or status.st_size < SMALLEST or not settled:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle, part = tempfile.mkstemp(dir=self._folder)
            with os.fdopen(handle, "w") as file:
                json.dump({**_key(path, status), "sha256": sha256}, file)
            Path(part).replace(_entry(self._folder, path))
        except OSError:
            return


def _entry(folder: Path, path: Path) -> Path:
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()
    return folder / f"{name}.json"


def _key(path: Path, status: os.stat_result) -> dict[str, str | int]:
    return {
        "path": str(path.resolve()),
        "device": status.st_dev,
        "inode": status.st_ino,
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "ctime_ns": status.st_ctime_ns,
    }
