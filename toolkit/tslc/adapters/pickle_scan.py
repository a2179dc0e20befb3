"""Looking for pickles in a file, whatever it is called, with picklescan. Nothing is loaded.

One file may read as several things: a pickle with a zip behind it is both, and each program takes
it for what it looks for. So a file is read as everything it can be. picklescan passes over what it
can't open, so zips, tars and compressed files are opened here; and what is called a pickle has to
read as one from its first byte to its end.
"""

from __future__ import annotations

import bz2
import logging
import lzma
import pickletools
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from tslc.adapters.foreign_mar import ZipBytes
from tslc.domain.pickles import Room, Scanned, TooMuch, is_called_pickle, unpacked_name

_PROTOCOLS = range(2, 6)
_HARMFUL = "dangerous"
_NUMPY = b"\x93NUMPY"
_ZIP, _ZIP_END, _ZIP_END_SIZE = b"PK\x03\x04", b"PK\x05\x06", 22
_TORCH_SUFFIXES = frozenset((".bin", ".pt", ".pth", ".ckpt"))
# lz4 and the first joblib's own packing, which joblib loads pickles from; zstd, 7z, RAR.
_UNOPENED = (b"\x04\x22\x4d\x18", b"ZF0x", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a")
_DEEPEST = 4
_CHUNK = 1024 * 1024


class _Engine(Protocol):
    """The decompressors of bz2 and lzma; see _Inflater for zlib's."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Inflater:
    def __init__(self, window: int) -> None:
        self._engine = zlib.decompressobj(window)

    @property
    def eof(self) -> bool:
        return self._engine.eof

    @property
    def needs_input(self) -> bool:
        return not self._engine.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._engine.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._engine.decompress(self._engine.unconsumed_tail + data, max_length)


@dataclass(frozen=True)
class _Packing:
    """`sure`: nothing else begins so. A text may begin as zlib's output does, with "x^"."""

    magics: tuple[bytes, ...]
    engine: Callable[[], _Engine]
    sure: bool


_PACKINGS = (
    _Packing((b"\x1f\x8b",), lambda: _Inflater(16 + zlib.MAX_WBITS), sure=True),
    _Packing((b"BZh",), bz2.BZ2Decompressor, sure=True),
    _Packing((b"\xfd7zXZ\x00",), lzma.LZMADecompressor, sure=True),
    _Packing((b"\x5d\x00",), lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE), sure=False),
    _Packing(
        tuple(
            bytes((first, second))
            for first in range(0x08, 0x80, 0x10)
            for second in range(256)
            if (first * 256 + second) % 31 == 0 and not second & 0x20
        ),
        lambda: _Inflater(zlib.MAX_WBITS),
        sure=False,
    ),
)


def scan(file: Path, path: str, room: Room | None = None) -> Iterator[Scanned]:
    """What is in `file`, which is called `path` in its archive, and in what is packed in it.

    `room`: what may be unpacked for it, with all else of its archive.
    """
    # Whatever a crafted file makes a reader raise, it was not read to its end.
    try:
        yield from _scan(file, path, 0, room or Room.of_archive(file.stat().st_size))
    except Exception as error:  # noqa: BLE001
        name = "" if isinstance(error, TooMuch) else f"{type(error).__name__}: "
        yield Scanned(path, pickled=True, error=f"{name}{error}"[:200])


def _scan(file: Path, path: str, depth: int, room: Room) -> Iterator[Scanned]:
    if depth > _DEEPEST:
        raise TooMuch(f"packed more than {_DEEPEST} deep")
    with file.open("rb") as content:
        head = content.read(64 * 1024)
    named = is_called_pickle(path)
    if not head:
        # picklescan can't seek in it.
        yield Scanned(path, pickled=named, error="no whole pickle: empty" if named else None)
        return
    packing = next((one for one in _PACKINGS if head.startswith(one.magics)), None)
    zipped = head.startswith(_ZIP) or zipfile.is_zipfile(file)
    tarred = _begins_as_tar(head)
    if head.startswith(_ZIP) and _starts_at_once(file):
        yield Scanned(path, pickled=named)
    else:
        packed = zipped or tarred or packing is not None
        found = _scan_as_it_is(file, path, head, room, packed=packed)
        if head.startswith(_ZIP):
            # Of two zips in a row, a directory shows the last and a reader of headers the first.
            found = replace(found, error="something stands before its first file")
        yield found
    if zipped:
        yield from _scan_zip(file, path, depth + 1, room)
    if tarred:
        yield from _scan_tar(file, path, depth + 1, room)
    if packing:
        yield from _scan_packed(file, path, packing, depth + 1, room)


def _scan_as_it_is(file: Path, path: str, head: bytes, room: Room, *, packed: bool) -> Scanned:
    """`packed`: it can also be opened, so it need be no pickle, whatever it is called."""
    named = is_called_pickle(path)
    if head.startswith(_UNOPENED):
        return Scanned(path, pickled=named, error="packed in a way that tslc does not open")
    _count_steps(file, head, room)
    if head.startswith(_NUMPY):
        return _picklescan(file, path, head, pickled=b"|O" in head)
    if named and not packed:
        problem = _unreadable(file)
        found = _picklescan(file, path, head, pickled=True)
        return replace(found, error=problem or found.error)
    return _picklescan(file, path, head, pickled=named or _begins_as_pickle(file, head))


def _picklescan(file: Path, path: str, head: bytes, *, pickled: bool) -> Scanned:
    from picklescan import scanner
    from picklescan.torch import InvalidMagicError

    logging.getLogger("picklescan").setLevel(logging.CRITICAL)
    # Not scan_bytes: that takes a pickle with a zip behind it for a zip alone.
    with file.open("rb") as content:
        if head.startswith(_NUMPY):
            found = scanner.scan_numpy(content, path)
        elif PurePosixPath(path.lower()).suffix in _TORCH_SUFFIXES and not head.startswith(_ZIP):
            try:
                found = scanner.scan_pytorch(content, path)
            except InvalidMagicError:
                content.seek(0)
                found = scanner.scan_pickle_bytes(content, path)
        else:
            found = scanner.scan_pickle_bytes(content, path)
    harmful = tuple(
        sorted(f"{one.module}.{one.name}" for one in found.globals if one.safety.value == _HARMFUL)
    )
    pickled = pickled or bool(found.globals)
    error = "the scanner can't read it" if found.scan_err else None
    return Scanned(path, pickled=pickled, harmful=harmful, error=error)


def _starts_at_once(file: Path) -> bool:
    """Whether nothing stands before the first file of a zip."""
    with ZipBytes(file) as content, zipfile.ZipFile(content) as opened:
        return min((info.header_offset for info in opened.infolist()), default=-1) == 0


def _scan_zip(file: Path, path: str, depth: int, room: Room) -> Iterator[Scanned]:
    with (
        ZipBytes(file) as content,
        zipfile.ZipFile(content) as opened,
        tempfile.TemporaryDirectory(prefix="tslc-push.") as scratch,
    ):
        copy = Path(scratch, "member")
        for info in opened.infolist():
            room.take_files(1)
            with opened.open(info) as source, copy.open("wb") as target:
                _copy(source, target, room)
            yield from _scan(copy, f"{path}/{_printable(info.filename)}", depth, room)
        # A zip's comment, or what someone appended: zipfile passes over both.
        content.seek(max(0, file.stat().st_size - _ZIP_END_SIZE - 0xFFFF))
        rest = content.read()
        behind = rest[rest.rfind(_ZIP_END) + _ZIP_END_SIZE :]
        if behind:
            copy.write_bytes(behind)
            yield from _scan(copy, f"{path}/comment", depth, room)


def _begins_as_tar(head: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(head[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True


def _scan_tar(file: Path, path: str, depth: int, room: Room) -> Iterator[Scanned]:
    with (
        # Some readers end at the first empty block, some go on behind it.
        tarfile.open(file, "r:", ignore_zeros=True) as opened,
        tempfile.TemporaryDirectory(prefix="tslc-push.") as scratch,
    ):
        copy = Path(scratch, "member")
        for info in opened:
            room.take_files(1)
            # Of a kind it does not know, tarfile makes a file too.
            empty = info.isdir() or info.issym() or info.islnk() or info.isdev()
            source = None if empty else opened.extractfile(info)
            if source:
                with source, copy.open("wb") as target:
                    _copy(source, target, room)
                yield from _scan(copy, f"{path}/{_printable(info.name)}", depth, room)


def _scan_packed(
    file: Path, path: str, packing: _Packing, depth: int, room: Room
) -> Iterator[Scanned]:
    inner = f"{path}/{unpacked_name(path)}"
    with tempfile.TemporaryDirectory(prefix="tslc-push.") as scratch:
        copy = Path(scratch, "member")
        room.take_files(1)
        with file.open("rb") as source, copy.open("wb") as target:
            problem = _unpack(source, packing, target, room)
        if problem is None or copy.stat().st_size:
            yield from _scan(copy, inner, depth, room)
    if problem and (packing.sure or is_called_pickle(path)):
        yield Scanned(path, pickled=True, error=f"packed, but broken: {problem}")


def _unpack(source: IO[bytes], packing: _Packing, target: IO[bytes], room: Room) -> str | None:
    """Why it ends badly, None if it does not. What came out until then is in `target`."""
    engine, given = packing.engine(), source.read(_CHUNK)
    while True:
        try:
            out = engine.decompress(given, _CHUNK)
        except (zlib.error, lzma.LZMAError, OSError, ValueError) as error:
            return str(error)
        room.take_bytes(len(out))
        target.write(out)
        if engine.eof:
            # Several may follow each other, and zeros may fill up the last block.
            given = engine.unused_data.lstrip(b"\0")
            while not given and (more := source.read(_CHUNK)):
                given = more.lstrip(b"\0")
            given += source.read(max(map(len, packing.magics))) if given else b""
            if not given:
                return None
            if not given.startswith(packing.magics):
                return "something stands behind its end"
            engine = packing.engine()
        elif engine.needs_input:
            given = source.read(_CHUNK)
            if not given and not out:
                return "it is cut short"
        else:
            given = b""


def _printable(name: str) -> str:
    """As it may stand in a message and in a manifest; what it ends with is what counts."""
    return "".join(one if one.isprintable() else "?" for one in name[-200:])


def _copy(source: IO[bytes], target: IO[bytes], room: Room) -> None:
    while chunk := source.read(_CHUNK):
        room.take_bytes(len(chunk))
        target.write(chunk)


def _count_steps(file: Path, head: bytes, room: Room) -> None:
    """Raises TooMuch for more steps than anyone reads: picklescan keeps them all in memory."""
    start, size = 0, file.stat().st_size
    if head.startswith(_NUMPY):
        wide = head[6:7] != b"\x01"
        start = (12 if wide else 10) + int.from_bytes(head[8 : 12 if wide else 10], "little")
    try:
        with file.open("rb") as content:
            content.seek(start)
            while content.tell() < size:
                for _ in pickletools.genops(content):
                    room.take_step()
    except TooMuch:
        raise
    except Exception:  # noqa: BLE001 (pickletools raises what it happens to)
        return


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
