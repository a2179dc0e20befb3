"""What a node's Envoy counts, from its admin socket; and what it refused, from its access log."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tslc.adapters.http_errors import translated
from tslc.domain.node_metrics.of_router import STATS, EnvoyStats, refusal
from tslc.errors import RemoteFailed

_TIMEOUT = 1.0
_BLOCK = 1 << 20


def read_stats(admin_socket: Path) -> EnvoyStats:
    """Raises RemoteFailed when Envoy does not answer, or not in its own words."""
    import httpx

    transport = httpx.HTTPTransport(uds=str(admin_socket), verify=False)
    asked = {"format": "json", "histogram_buckets": "detailed", "filter": STATS}
    with (
        translated("the router's Envoy"),
        httpx.Client(transport=transport, base_url="http://admin", timeout=_TIMEOUT) as admin,
    ):
        reply = admin.get("/stats", params=asked)
        reply.raise_for_status()
    try:
        return EnvoyStats.parse(reply.content)
    except ValueError as error:
        raise RemoteFailed(f"the router's Envoy: {error}") from error


class RefusalLog:
    """The refusals that were written to the access log since the last look.

    The log may be large: it is read from the end it had at first, and in blocks. When it is
    replaced, the rest of the old one comes before the new one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rest = b""
        self._file = self._open()
        if self._file is not None:
            self._file.seek(0, os.SEEK_END)

    def statuses(self) -> list[str]:
        """One for each refusal."""
        found = [status for line in self._lines() if (status := refusal(line)) is not None]
        if self._is_replaced():
            self.close()
            self._file, self._rest = self._open(), b""
            found += [status for line in self._lines() if (status := refusal(line)) is not None]
        return found

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _open(self) -> BinaryIO | None:
        try:
            return self._path.open("rb")
        except FileNotFoundError:
            return None

    def _is_replaced(self) -> bool:
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        if self._file is None:
            return True
        mine = os.fstat(self._file.fileno())
        return (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino)

    def _lines(self) -> Iterator[bytes]:
        """Those that are complete."""
        while self._file is not None and (block := self._file.read(_BLOCK)):
            *complete, self._rest = (self._rest + block).split(b"\n")
            yield from complete
