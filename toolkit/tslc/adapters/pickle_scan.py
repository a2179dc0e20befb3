"""Looking for pickles in a file, whatever it is called, with picklescan. Nothing is loaded.

picklescan looks one zip deep, and passes over what it can't open; so zips are opened here, and
what is called a pickle has to read as one from its first byte to its end.
"""

from __future__ import annotations

import logging
import pickletools
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path, PurePosixPath

from tslc.domain.manifest import MAX_FILES
from tslc.domain.pickles import Scanned, is_called_pickle

_PROTOCOLS = range(2, 6)
_HARMFUL = "dangerous"
_NUMPY = b"\x93NUMPY"
_DEEPEST = 4
_MAX_GROWTH = 20
_MAX_GIFT = 1024**3
_CHUNK = 1024 * 1024


def scan(file: Path, path: str) -> Iterator[Scanned]:
    """What is in `file`, which is called `path` in its archive, and in the zips in it."""
    # Whatever a crafted file makes a reader raise, it was not read to its end.
    try:
        yield from _scan(file, path, 0)
    except Exception as error:  # noqa: BLE001
        yield Scanned(path, pickled=True, error=f"{type(error).__name__}: {error}"[:200])


def _scan(file: Path, path: str, depth: int) -> Iterator[Scanned]:
    with file.open("rb") as content:
        head = content.read(64 * 1024)
    if not head:
        # picklescan can't seek in it.
        named = is_called_pickle(path)
        yield Scanned(path, pickled=named, error="no whole pickle: empty" if named else None)
    elif zipfile.is_zipfile(file) or head[:4] == b"PK\x03\x04":
        yield _picklescan(file, path, pickled=is_called_pickle(path))
        yield from _scan_zip(file, path, depth + 1)
    elif head.startswith(_NUMPY):
        yield _picklescan(file, path, pickled=b"|O" in head)
    elif is_called_pickle(path):
        problem = _unreadable(file)
        found = _picklescan(file, path, pickled=True)
        yield replace(found, error=problem or found.error)
    else:
        yield _picklescan(file, path, pickled=_begins_as_pickle(file, head))


def _picklescan(file: Path, path: str, *, pickled: bool) -> Scanned:
    from picklescan import scanner

    logging.getLogger("picklescan").setLevel(logging.CRITICAL)
    with file.open("rb") as content:
        found = scanner.scan_bytes(content, path, PurePosixPath(path).suffix.lower())
    harmful = tuple(
        sorted(f"{one.module}.{one.name}" for one in found.globals if one.safety.value == _HARMFUL)
    )
    pickled = pickled or bool(found.globals)
    error = "the scanner can't read it" if found.scan_err else None
    return Scanned(path, pickled=pickled, harmful=harmful, error=error)


def _scan_zip(file: Path, path: str, depth: int) -> Iterator[Scanned]:
    if depth > _DEEPEST:
        raise ValueError(f"zips in zips, more than {_DEEPEST} deep")
    with (
        zipfile.ZipFile(file) as opened,
        tempfile.TemporaryDirectory(prefix="tslc-push.") as scratch,
    ):
        infos = opened.infolist()
        if len(infos) > MAX_FILES:
            raise ValueError(f"more than {MAX_FILES} files")
        if sum(info.file_size for info in infos) > _MAX_GIFT + _MAX_GROWTH * file.stat().st_size:
            raise ValueError(f"it grows to over {_MAX_GROWTH} times its size")
        for info in infos:
            copy = Path(scratch, "member")
            with opened.open(info) as source, copy.open("wb") as target:
                while chunk := source.read(_CHUNK):
                    target.write(chunk)
            yield from _scan(copy, f"{path}/{info.filename}", depth)


def _begins_as_pickle(file: Path, head: bytes) -> bool:
    """By its first bytes, and by what follows them: a length may begin with the same two."""
    if len(head) < 2 or head[0] != 0x80 or head[1] not in _PROTOCOLS:
        return False
    try:
        with file.open("rb") as content:
            for _ in islice(pickletools.genops(content), 3):
                pass
    except Exception:  # noqa: BLE001 (pickletools raises what it happens to)
        return False
    return True


def _unreadable(file: Path) -> str | None:
    """Why it is no pickle, or none that ends."""
    try:
        with file.open("rb") as content:
            for _ in pickletools.genops(content):
                pass
    except Exception as error:  # noqa: BLE001 (pickletools raises what it happens to)
        return f"no whole pickle: {error}"[:200]
    return None
