"""Opening an archive that others built: a .mar, that is a zip.

Java's reader and Python's may see different files in a crafted zip, so its parts have to follow
each other without gaps, each as the directory says. Nothing is written outside the folder, no link
is made, and what comes out is bounded however little goes in.
"""

from __future__ import annotations

import hashlib
import json
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tslc.domain.manifest import MAX_FILES, FileEntry, path_problem
from tslc.errors import BadFile, BadInput, Mistake

_CHUNK = 1024 * 1024
_LOCAL = struct.Struct("<4s5H3L2H")
_DESCRIPTORS = (0, 12, 16, 20, 24)
_ENCRYPTED, _DESCRIBED_LATER = 0x1, 0x8
# Weights hardly shrink, texts do: this many times the archive's size, and as much on top.
_MAX_GROWTH = 20
_MAX_GIFT = 1024**3
_MAX_MANIFEST = 1024 * 1024
MANIFEST = "MAR-INF/MANIFEST.json"
_FIX = "use an archive that torch-model-archiver made"


def file_entry(archive: Path) -> FileEntry:
    """Digest and size of the archive itself; raises BadInput when there is none."""
    if not archive.is_file():
        raise BadInput(f"no archive {archive}", hint="name a .mar file")
    try:
        with archive.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return FileEntry(digest, file.tell())
    except OSError as error:
        raise BadInput(f"can't read {archive}: {error.strerror or error}") from None


def unpacked_files(archive: Path) -> Iterator[tuple[str, Path]]:
    """Each file of the archive: its path in it, and a copy that lasts until the next one.

    Raises BadInput for what can't be read, BadFile for one that is not safe or not TorchServe's.
    """
    try:
        with (
            zipfile.ZipFile(archive) as opened,
            archive.open("rb") as raw,
            tempfile.TemporaryDirectory(prefix="tslc-push.") as scratch,
        ):
            copy = Path(scratch, "member")
            for info in _checked(archive, opened, raw):
                with copy.open("wb") as target:
                    _copy(archive, opened, info, target)
                if info.filename == MANIFEST:
                    _expect_manifest(archive, copy)
                yield info.filename, copy
    except (zipfile.BadZipFile, NotImplementedError, zlib.error, EOFError, struct.error) as error:
        raise _refuse(archive, "the file", f"not a whole zip: {error}") from None
    except OSError as error:
        raise BadInput(f"can't read {archive}: {error.strerror or error}") from None


def _refuse(archive: Path, where: str, problem: str) -> BadFile:
    return BadFile(str(archive), [Mistake(where, problem, _FIX)])


def _checked(archive: Path, opened: zipfile.ZipFile, raw: IO[bytes]) -> list[zipfile.ZipInfo]:
    """The files, in the order they lie."""
    infos = sorted(opened.infolist(), key=lambda info: info.header_offset)
    if len(infos) > MAX_FILES:
        raise _refuse(archive, "the archive", f"more than {MAX_FILES} files")
    size = archive.stat().st_size
    if sum(info.file_size for info in infos) > _MAX_GIFT + _MAX_GROWTH * size:
        raise _refuse(archive, "the archive", f"it grows to over {_MAX_GROWTH} times its size")
    names: set[str] = set()
    end = {0}
    for info in infos:
        where = repr(info.filename)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if problem := path_problem(info.filename.removesuffix("/")):
            raise _refuse(archive, where, problem)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refuse(archive, where, "it is a link or no regular file")
        if info.flag_bits & _ENCRYPTED:
            raise _refuse(archive, where, "it is encrypted")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _refuse(archive, where, "packed in a way Java does not read")
        if info.filename.rstrip("/") in names:
            raise _refuse(archive, where, "it is there twice")
        names.add(info.filename.rstrip("/"))
        if info.header_offset not in end:
            raise _refuse(archive, where, "something stands between its files")
        end = _ends(archive, info, raw)
    if opened.start_dir not in end:
        raise _refuse(archive, "the file", "something stands before its directory")
    if MANIFEST not in names:
        raise _refuse(archive, MANIFEST, "not in it: no TorchServe archive")
    for name in names:
        if any(parent in names and not _is_folder(infos, parent) for parent in _parents(name)):
            raise _refuse(archive, repr(name), "a file stands where its folder is")
    return [info for info in infos if not info.is_dir()]


def _ends(archive: Path, info: zipfile.ZipInfo, raw: IO[bytes]) -> set[int]:
    """Where the next part may begin: behind the content and what may describe it there."""
    raw.seek(info.header_offset)
    head = _LOCAL.unpack(raw.read(_LOCAL.size))
    magic, flags, method, name_size, extra_size = head[0], head[2], head[3], head[9], head[10]
    name = raw.read(name_size)
    encoding = "utf-8" if flags & 0x800 else "cp437"
    same = name.decode(encoding, "replace") == info.orig_filename
    if magic != b"PK\x03\x04" or not same or method != info.compress_type:
        raise _refuse(archive, repr(info.filename), "called otherwise in the zip's directory")
    end = info.header_offset + _LOCAL.size + name_size + extra_size + info.compress_size
    later = flags & _DESCRIBED_LATER
    return {end + more for more in _DESCRIPTORS} if later else {end}


def _copy(archive: Path, opened: zipfile.ZipFile, info: zipfile.ZipInfo, target: IO[bytes]) -> None:
    """zipfile stops at the size the directory states and compares the checksum."""
    left = info.file_size
    with opened.open(info) as source:
        while chunk := source.read(_CHUNK):
            left -= len(chunk)
            target.write(chunk)
    if left:
        raise _refuse(archive, repr(info.filename), "not as large as the directory says")


def _expect_manifest(archive: Path, copy: Path) -> None:
    try:
        if copy.stat().st_size > _MAX_MANIFEST:
            raise ValueError("over 1 MiB")
        document = json.loads(copy.read_bytes())
        if not isinstance(document, dict) or not isinstance(document.get("model"), dict):
            raise ValueError("it names no model")
    except (ValueError, RecursionError) as error:
        raise _refuse(archive, MANIFEST, f"not TorchServe's: {error}") from None


def _is_folder(infos: list[zipfile.ZipInfo], name: str) -> bool:
    return any(info.filename == f"{name}/" for info in infos)


def _parents(name: str) -> Iterator[str]:
    parts = name.split("/")
    return ("/".join(parts[:count]) for count in range(1, len(parts)))
