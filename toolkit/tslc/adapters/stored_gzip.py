"""Gzip as tslc writes it: one head, one member of stored blocks, nothing behind its trailer.

Unpackers differ in what they make of a second member, of names and comments in the head or of
bytes behind the end. The reader takes none of that, so that all of them see the same content.
"""

from __future__ import annotations

import struct
import zlib
from typing import IO

HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
BLOCK = 0xFFFF
_BLOCK_HEAD = struct.Struct("<BHH")
_TRAILER = struct.Struct("<LL")


class NotStoredGzip(Exception):
    """The bytes are not those StoredGzip writes; the text says which."""


class StoredGzip:
    """A gzip stream of stored blocks: what is written depends on the content alone."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._waiting = bytearray()
        self._crc = 0
        self._size = 0
        file.write(HEAD)

    def write(self, content: bytes) -> None:
        self._crc = zlib.crc32(content, self._crc)
        self._size += len(content)
        self._waiting += content
        while len(self._waiting) > BLOCK:
            self._block(bytes(self._waiting[:BLOCK]), last=False)
            del self._waiting[:BLOCK]

    def finish(self) -> None:
        self._block(bytes(self._waiting), last=True)
        self._file.write(_TRAILER.pack(self._crc, self._size & 0xFFFFFFFF))

    def _block(self, content: bytes, *, last: bool) -> None:
        size = len(content)
        self._file.write(_BLOCK_HEAD.pack(int(last), size, size ^ 0xFFFF) + content)


class StoredGzipReader:
    """What StoredGzip wrote, read again; its end is verified when it is reached."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._waiting = b""
        self._last = False
        self._crc = 0
        self._size = 0
        if file.read(len(HEAD)) != HEAD:
            raise NotStoredGzip("a gzip head that is not tslc's")

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end. Raises NotStoredGzip."""
        while not self._waiting and not self._last:
            self._next_block()
        content, self._waiting = self._waiting[:size], self._waiting[size:]
        return content

    def _next_block(self) -> None:
        kind, size, inverse = _BLOCK_HEAD.unpack(self._exactly(_BLOCK_HEAD.size))
        self._last = kind == 1
        full = self._last or size == BLOCK
        if kind not in (0, 1) or size != inverse ^ 0xFFFF or not full:
            raise NotStoredGzip("a gzip block that is not laid out as tslc packs it")
        self._waiting = self._exactly(size)
        self._crc = zlib.crc32(self._waiting, self._crc)
        self._size += size
        if self._last:
            trailer = self._exactly(_TRAILER.size)
            if trailer != _TRAILER.pack(self._crc, self._size & 0xFFFFFFFF):
                raise NotStoredGzip("a gzip checksum that is not its content's")
            if self._file.read(1):
                raise NotStoredGzip("something stands behind its end")

    def _exactly(self, size: int) -> bytes:
        content = self._file.read(size)
        if len(content) != size:
            raise NotStoredGzip("cut short")
        return content
