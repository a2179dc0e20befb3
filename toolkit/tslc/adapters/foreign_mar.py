"""Opening an archive that others built: a .mar, that is a zip.

TorchServe reads a zip from its first byte on, header by header; Python reads the directory at its
end. In a crafted zip they see different files. So the headers have to follow each other without
gaps, say what the directory says, and each content has to end where they say. Nothing is written
outside the folder, no link is made, and what comes out is bounded however little goes in.
"""

from __future__ import annotations

import hashlib
import io
import json
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tslc.domain.manifest import FileEntry, path_problem
from tslc.domain.pickles import Room, TooMuch
from tslc.errors import BadFile, BadInput, Mistake, Refused

_CHUNK = 1024 * 1024
_MAX_DIRECTORY = 16 * 1024 * 1024
_LOCAL = struct.Struct("<4s5H3L2H")
_LOCAL_MAGIC, _DESCRIPTOR_MAGIC = b"PK\x03\x04", b"PK\x07\x08"
_ENCRYPTED, _DESCRIBED_LATER, _UTF8 = 0x1, 0x8, 0x800
_LEVEL = 0x6  # how hard the packer tried; says nothing about the content
_WIDE, _WIDE_FIELD = 0xFFFFFFFF, 1
_MAX_MANIFEST = 1024 * 1024
MANIFEST = "MAR-INF/MANIFEST.json"
_FIX = "use an archive that torch-model-archiver made"


class ZipBytes(io.BufferedReader):
    """A zip's bytes, for zipfile: it reads a directory in one go, whatever size the zip states."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = self._size - self.tell() if size is None or size < 0 else size
        if wanted > _MAX_DIRECTORY:
            raise zipfile.BadZipFile("its directory is over 16 MiB")
        return super().read(size)


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


def unpacked_files(archive: Path, room: Room | None = None) -> Iterator[tuple[str, Path]]:
    """Each file of the archive: its path in it, and a copy that lasts until the next one.

    Raises BadInput for what can't be read, BadFile for what is no archive of TorchServe's, Refused
    for one that is not safe, or has more in it than `room`.
    """
    try:
        room = room or Room.of_archive(archive.stat().st_size)
        with (
            ZipBytes(archive) as raw,
            zipfile.ZipFile(raw) as opened,
            tempfile.TemporaryDirectory(prefix="tslc-push.") as scratch,
        ):
            copy = Path(scratch, "member")
            for info, start in _checked(archive, opened, raw, room):
                with copy.open("wb") as target:
                    _copy(archive, info, raw, start, target)
                if info.filename == MANIFEST:
                    _expect_manifest(archive, copy)
                if not info.is_dir():
                    yield info.filename, copy
    except (zipfile.BadZipFile, NotImplementedError, EOFError, struct.error, ValueError) as error:
        raise _no_archive(archive, "the file", f"not a whole zip: {error}") from None
    except OSError as error:
        raise BadInput(f"can't read {archive}: {error.strerror or error}") from None


def archive_version(archive: Path) -> str:
    """The version the archive gives itself, under which TorchServe serves it; raises as above."""
    for path, copy in unpacked_files(archive):
        if path == MANIFEST:
            return str(json.loads(copy.read_bytes())["model"].get("modelVersion") or "1.0")
    raise _no_archive(archive, MANIFEST, "missing")


def _refuse(archive: Path, where: str, problem: str) -> Refused:
    return Refused(f"{archive} is not safe: {where}: {problem}", hint=_FIX)


def _no_archive(archive: Path, where: str, problem: str) -> BadFile:
    return BadFile(str(archive), [Mistake(where, problem, _FIX)])


def _checked(
    archive: Path, opened: zipfile.ZipFile, raw: IO[bytes], room: Room
) -> list[tuple[zipfile.ZipInfo, int]]:
    """The entries in the order they lie, and where the content of each begins."""
    infos = sorted(opened.infolist(), key=lambda info: info.header_offset)
    try:
        room.take_files(len(infos))
        room.take_bytes(sum(info.file_size for info in infos))
    except TooMuch as error:
        raise Refused(f"{archive} is not safe: {error}", hint=_FIX) from None
    entries = []
    names: set[str] = set()
    end = 0
    for info in infos:
        where = repr(info.filename)
        if problem := _entry_problem(info):
            raise _refuse(archive, where, problem)
        if info.filename.rstrip("/") in names:
            raise _refuse(archive, where, "it is there twice")
        names.add(info.filename.rstrip("/"))
        if info.header_offset != end:
            raise _refuse(archive, where, "something stands between its files")
        start, end = _span(archive, info, raw)
        entries.append((info, start))
    if opened.start_dir != end:
        raise _refuse(archive, "the file", "something stands before its directory")
    if MANIFEST not in names:
        raise _no_archive(archive, MANIFEST, "not in it: no TorchServe archive")
    files = {info.filename for info in infos if not info.is_dir()}
    for name in names:
        if any(parent in files for parent in _parents(name)):
            raise _refuse(archive, repr(name), "a file stands where its folder is")
    return entries


def _entry_problem(info: zipfile.ZipInfo) -> str | None:
    """What is wrong with an entry by the directory alone."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    later = info.flag_bits & _DESCRIBED_LATER
    if problem := path_problem(info.filename.removesuffix("/")):
        return problem
    if info.filename != info.orig_filename or not (
        info.flag_bits & _UTF8 or info.filename.isascii()
    ):
        return "its name can be read in two ways"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "it is a link or no regular file"
    if info.flag_bits & _ENCRYPTED:
        return "it is encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or (
        later and info.compress_type == zipfile.ZIP_STORED
    ):
        return "packed in a way Java does not read"
    return "a folder with content" if info.is_dir() and info.file_size else None


def _span(archive: Path, info: zipfile.ZipInfo, raw: IO[bytes]) -> tuple[int, int]:
    """Where the content begins, and where the next part has to: behind what may describe it."""
    raw.seek(info.header_offset)
    head = _LOCAL.unpack(raw.read(_LOCAL.size))
    magic, _, flags, method, _, _, crc, packed, size, name_size, extra_size = head
    name, extra = raw.read(name_size), raw.read(extra_size)
    start = raw.tell()
    end = start + info.compress_size
    encoding = "utf-8" if flags & _UTF8 else "ascii"
    same = name.decode(encoding, "replace") == info.filename and method == info.compress_type
    if magic != _LOCAL_MAGIC or not same or (flags ^ info.flag_bits) & ~_LEVEL:
        raise _refuse(archive, repr(info.filename), "called otherwise in the zip's directory")
    true = (info.CRC, info.compress_size, info.file_size)
    if flags & _DESCRIBED_LATER:
        described = _descriptor_size(raw, end, true)
        early = all(one in (0, right) for one, right in zip((crc, packed, size), true, strict=True))
        # Above 4 GiB, the header states what fits in no field.
        if described is None or not (
            early or (max(true) > _WIDE and (packed, size) == (_WIDE,) * 2)
        ):
            raise _refuse(archive, repr(info.filename), "other sizes than in the zip's directory")
        return start, end + described
    if (crc, *_stated_sizes(packed, size, extra)) != true:
        raise _refuse(archive, repr(info.filename), "other sizes than in the zip's directory")
    return start, end


def _stated_sizes(packed: int, size: int, extra: bytes) -> tuple[int, int]:
    """What a local header states, packed and unpacked: in its fields, or in one wide field."""
    if _WIDE not in (packed, size):
        return packed, size
    wide = [content for kind, content in _extra_fields(extra) if kind == _WIDE_FIELD]
    if len(wide) != 1 or len(wide[0]) < 16:
        return packed, size
    wide_size, wide_packed = struct.unpack_from("<QQ", wide[0])
    same = packed in (_WIDE, wide_packed) and size in (_WIDE, wide_size)
    return (wide_packed, wide_size) if same else (packed, size)


def _extra_fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        yield kind, extra[4 : 4 + size]
        extra = extra[4 + size :]


def _descriptor_size(raw: IO[bytes], end: int, true: tuple[int, int, int]) -> int | None:
    """How long the descriptor at `end` is; None when none says what is true."""
    body = struct.pack("<LQQ" if max(true) > _WIDE else "<LLL", *true)
    raw.seek(end)
    found = raw.read(4 + len(body))
    if found == _DESCRIPTOR_MAGIC + body:
        return len(found)
    if found.startswith(body) and not body.startswith(_DESCRIPTOR_MAGIC):
        return len(body)
    return None


def _copy(
    archive: Path, info: zipfile.ZipInfo, raw: IO[bytes], start: int, target: IO[bytes]
) -> None:
    """Unpack one content; raises Refused if it is not the directory's, or ends elsewhere."""
    raw.seek(start)
    stored = info.compress_type == zipfile.ZIP_STORED
    checksum = size = 0
    try:
        for chunk in (_read if stored else _inflated)(raw, info.compress_size):
            checksum, size = zlib.crc32(chunk, checksum), size + len(chunk)
            if size > info.file_size:
                break
            target.write(chunk)
    except zlib.error as error:
        raise _refuse(archive, repr(info.filename), str(error)) from None
    if (checksum, size) != (info.CRC, info.file_size):
        raise _refuse(archive, repr(info.filename), "its content is not what the directory says")


def _read(raw: IO[bytes], size: int) -> Iterator[bytes]:
    while size and (chunk := raw.read(min(_CHUNK, size))):
        size -= len(chunk)
        yield chunk


def _inflated(raw: IO[bytes], size: int) -> Iterator[bytes]:
    """Raises zlib.error unless the deflated stream takes exactly `size` bytes.

    A reader that goes from header to header would find another file in what is left.
    """
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    for given in _read(raw, size):
        if engine.eof:
            raise zlib.error("it ends before the size that the directory states")
        while True:
            chunk = engine.decompress(given, _CHUNK)
            yield chunk
            given = engine.unconsumed_tail
            if engine.eof or not (given or len(chunk) == _CHUNK):
                break
    if not engine.eof or engine.unused_data:
        raise zlib.error("it does not end at the size that the directory states")


def _expect_manifest(archive: Path, copy: Path) -> None:
    try:
        if copy.stat().st_size > _MAX_MANIFEST:
            raise ValueError("over 1 MiB")
        document = json.loads(copy.read_bytes())
        if not isinstance(document, dict) or not isinstance(document.get("model"), dict):
            raise ValueError("it names no model")
    except (ValueError, RecursionError) as error:
        raise _no_archive(archive, MANIFEST, f"not TorchServe's: {error}") from None


def _parents(name: str) -> Iterator[str]:
    parts = name.split("/")
    return ("/".join(parts[:count]) for count in range(1, len(parts)))
