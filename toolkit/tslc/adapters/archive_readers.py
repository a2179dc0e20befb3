"""Reading the three formats of an archive, in the one layout that tslc writes.

TorchServe unpacks with other code than Python's, which may see other files in a crafted archive
(a zip's local headers against its directory, a tar's extensions). So a header that is not byte for
byte the one archive_layout writes is refused: there is nothing left to read in two ways.
"""

from __future__ import annotations

import os
import stat
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, assert_never

from tslc.adapters import archive_layout as layout
from tslc.adapters.stored_gzip import HEAD, NotStoredGzip, StoredGzipReader
from tslc.domain.archive_name import ArchiveFormat
from tslc.domain.manifest import MAX_FILES, path_problem
from tslc.errors import BadFile, BadInput, Mistake

_CHUNK = 1024 * 1024
_MAX_DIRECTORY = 16 * 1024 * 1024
_REBUILD = "don't use it; build it again with `tslc build`"
_ZIP_END = struct.Struct("<4s4H2LH")
_ZIP_FIELDS = (
    *("filename", "date_time", "extra", "comment", "create_system", "create_version"),
    *("extract_version", "reserved", "flag_bits", "volume", "internal_attr", "external_attr"),
    *("header_offset", "compress_size"),
)
Readable = IO[bytes] | StoredGzipReader


@dataclass(frozen=True)
class Entry:
    """One file: its path, its size in bytes, its content (to be read before the next entry)."""

    path: str
    size: int
    chunks: Iterator[bytes]


def read_entries(path: Path) -> Iterator[Entry]:
    """The files of an archive in order; raises BadFile when it is not as tslc packs one."""
    match format_of(path):
        case ArchiveFormat.NO_ARCHIVE:
            return _checked(path, _folder_entries(path))
        case ArchiveFormat.MAR:
            return _checked(path, _zip_entries(path))
        case ArchiveFormat.TGZ:
            return _checked(path, _tgz_entries(path))
        case other:
            assert_never(other)


def format_of(path: Path) -> ArchiveFormat:
    """By what it is, whatever it is called; raises BadInput (BadFile) for what is no archive."""
    if path.is_dir():
        return ArchiveFormat.NO_ARCHIVE
    if not path.is_file():
        raise BadInput(f"no archive {path}", hint="build one with `tslc build`")
    if path.stat().st_size > layout.MAX_ARCHIVE:
        raise _refuse(path, "the archive", "over 2 GiB")
    with path.open("rb") as file:
        magic = file.read(2)
    for known, archive_format in ((b"PK", ArchiveFormat.MAR), (HEAD[:2], ArchiveFormat.TGZ)):
        if magic == known:
            return archive_format
    raise _refuse(path, "the file", "neither a .mar nor a .tar.gz")


def _refuse(archive: Path, where: str, problem: str) -> BadFile:
    return BadFile(str(archive), [Mistake(where, problem, _REBUILD)])


def _checked(archive: Path, entries: Iterator[Entry]) -> Iterator[Entry]:
    for count, entry in enumerate(entries, start=1):
        if count > MAX_FILES + 1:
            raise _refuse(archive, "the archive", f"more than {MAX_FILES} files")
        if problem := path_problem(entry.path):
            raise _refuse(archive, repr(entry.path), problem)
        yield entry


def _zip_entries(path: Path) -> Iterator[Entry]:
    with path.open("rb") as file:
        end = _check_zip_end(path, file)
        try:
            directory = zipfile.ZipFile(file).infolist()
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise _refuse(path, "the file", f"not a whole zip: {error}") from None
        offset = 0
        for info in directory:
            where = repr(info.filename)
            if problem := path_problem(info.filename):
                raise _refuse(path, where, problem)
            if stat.S_ISLNK(info.external_attr >> 16):
                raise _refuse(path, where, "it is a link")
            if info.compress_type != zipfile.ZIP_STORED:
                raise _refuse(path, where, "it is deflated; tslc stores")
            expected = layout.zip_entry(info.orig_filename)
            expected.CRC, expected.file_size = info.CRC, info.file_size
            expected.compress_size, expected.header_offset = info.file_size, offset
            header = expected.FileHeader(zip64=False)
            file.seek(offset)
            same = all(getattr(info, key) == getattr(expected, key) for key in _ZIP_FIELDS)
            if not same or file.read(len(header)) != header:
                raise _refuse(path, where, "not laid out as tslc packs it")
            yield Entry(info.filename, info.file_size, _limited(path, file, info.file_size))
            offset += len(header) + info.file_size
        if offset != end:
            raise _refuse(path, "the file", "something stands before its directory")


def _check_zip_end(path: Path, file: IO[bytes]) -> int:
    """Where the directory begins. Bounds it before it is read: no comment, no zip64, no tail."""
    size = file.seek(0, os.SEEK_END)
    tail = 20 + _ZIP_END.size
    file.seek(max(0, size - tail))
    content = file.read(tail).rjust(tail, b"\0")
    magic, _, _, _, count, directory_size, offset, comment = _ZIP_END.unpack(content[20:])
    if (
        magic != b"PK\x05\x06"
        or comment
        or content.startswith(b"PK\x06\x07")
        or count > MAX_FILES + 1
        or directory_size > _MAX_DIRECTORY
        or offset + directory_size + _ZIP_END.size != size
    ):
        raise _refuse(path, "the file", "cut short, or not laid out as tslc packs it")
    return int(offset)


def _tgz_entries(path: Path) -> Iterator[Entry]:
    root = None
    with path.open("rb") as file:
        stream = _gzip_reader(path, file)
        while True:
            header = _read(path, stream, layout.TAR_BLOCK)
            if header == layout.TAR_END[: layout.TAR_BLOCK]:
                break
            name, size = _tar_file(path, header)
            first, _, name = name.partition("/")
            root = root or first
            if first != root or not name:
                raise _refuse(path, repr(name), f"not below the folder {root!r}")
            content = _limited(path, stream, size)
            yield Entry(name, size, content)
            for _ in content:
                pass
            if any(_read(path, stream, -size % layout.TAR_BLOCK)):
                raise _refuse(path, repr(name), "something stands behind it")
        if any(_read(path, stream, layout.TAR_BLOCK)) or _read_some(path, stream, 1):
            raise _refuse(path, "the file", "something stands behind its end")


def _gzip_reader(path: Path, file: IO[bytes]) -> StoredGzipReader:
    try:
        return StoredGzipReader(file)
    except NotStoredGzip as error:
        raise _refuse(path, "the file", str(error)) from None


def _tar_file(path: Path, header: bytes) -> tuple[str, int]:
    try:
        info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
    except (tarfile.HeaderError, ValueError):
        raise _refuse(path, "the file", "not a whole tar") from None
    if not info.isreg():
        raise _refuse(path, repr(info.name), "it is a link or no regular file")
    inside = info.name.partition("/")[2]
    if problem := path_problem(inside) or path_problem(info.name):
        raise _refuse(path, repr(info.name), problem)
    if header != layout.tar_header(info.name, info.size):
        raise _refuse(path, repr(info.name), "not laid out as tslc packs it")
    return info.name, info.size


def _limited(path: Path, stream: Readable, size: int) -> Iterator[bytes]:
    while size:
        chunk = _read_some(path, stream, min(size, _CHUNK))
        if not chunk:
            raise _refuse(path, "the file", "cut short")
        size -= len(chunk)
        yield chunk


def _read(path: Path, stream: Readable, size: int) -> bytes:
    return b"".join(_limited(path, stream, size))


def _read_some(path: Path, stream: Readable, size: int) -> bytes:
    try:
        return stream.read(size)
    except NotStoredGzip as error:
        raise _refuse(path, "the file", str(error)) from None


def _folder_entries(root: Path) -> Iterator[Entry]:
    total = 0
    for parent, folders, names in os.walk(root):
        folders.sort()
        for name in sorted((*folders, *names)):
            path = Path(parent, name)
            mode = path.lstat().st_mode
            inside = path.relative_to(root).as_posix()
            if stat.S_ISLNK(mode) or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise _refuse(root, repr(inside), "it is a link or no regular file")
            if stat.S_ISDIR(mode):
                continue
            size = path.lstat().st_size
            total += size
            if total > layout.MAX_ARCHIVE:
                raise _refuse(root, "the folder", "over 2 GiB")
            with path.open("rb") as file:
                yield Entry(inside, size, _limited(root, file, size))
