"""Blobs on their way into the store: in parallel parts, each hashed as it is read.

A blob is completed only when the bytes read have the digest it will be called by, so a file that
changes under a push never becomes a blob. Memory is bounded: a few parts, whatever the sizes.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import IO, TYPE_CHECKING, Any

from tslc.adapters.s3_errors import translated
from tslc.adapters.s3_store import S3Store
from tslc.domain.store_layout import blob_key
from tslc.errors import TslcError

if TYPE_CHECKING:
    from s3transfer.manager import TransferManager

PART = 8 * 1024 * 1024
_IN_MEMORY = 8
_REQUESTS = 8
_FILES = 3


@dataclass(frozen=True)
class LocalBlob:
    """A file whose content should be `sha256` (64 hex digits) and `size` bytes."""

    sha256: str
    size: int
    path: Path


def upload_blobs(
    store: S3Store, blobs: Iterable[LocalBlob], advance: Callable[[int], None]
) -> None:
    """Send every blob; `advance` is called with bytes sent, one call at a time.

    Raises the first failure; blobs that were complete by then stay.
    """
    # A push that finds all of it in the store needs none of this.
    from s3transfer.manager import TransferConfig, TransferManager

    config = TransferConfig(
        multipart_threshold=2 * PART,
        multipart_chunksize=PART,
        max_request_concurrency=_REQUESTS,
        max_submission_concurrency=_FILES,
        max_in_memory_upload_chunks=_IN_MEMORY,
    )
    lock = threading.Lock()

    def count(sent: int) -> None:
        with lock:
            advance(sent)

    ended: SimpleQueue[tuple[LocalBlob, Any]] = SimpleQueue()
    # Leaving it with an exception cancels the other uploads.
    with TransferManager(store.client, config) as manager:
        started = [_start(manager, store, blob, _Told(blob, count, ended)) for blob in blobs]
        for _ in started:
            blob, future = ended.get()
            with translated(store.request("s3:PutObject", blob_key(blob.sha256))):
                future.result()


def _start(manager: TransferManager, store: S3Store, blob: LocalBlob, told: _Told) -> Any:
    arguments: dict[str, str] = {**store.encryption_arguments}
    if blob.size < 2 * PART:
        digest = base64.b64encode(bytes.fromhex(blob.sha256)).decode("ascii")
        arguments["ChecksumSHA256"] = digest
    return manager.upload(
        HashedFile(blob),
        store.address.bucket,
        store.full(blob_key(blob.sha256)),
        extra_args=arguments,
        subscribers=[told],
    )


class HashedFile:
    """A stream (never rewound) of a file; its end is only given out when the digest is right."""

    def __init__(self, blob: LocalBlob) -> None:
        self._blob = blob
        self._digest = hashlib.sha256()
        self._left = blob.size
        self._file: IO[bytes] | None = None
        self._ended = False

    def read(self, size: int | None = None) -> bytes:
        if self._ended:
            return b""
        try:
            if self._file is None:
                # Opened late: a push of many files would run out of descriptors.
                self._file = self._blob.path.open("rb", buffering=0)
            wanted = self._left if size is None else min(size, self._left)
            content = self._file.read(wanted) or b""
            while len(content) < wanted and (more := self._file.read(wanted - len(content))):
                content += more
            self._digest.update(content)
            self._left -= len(content)
            if not self._left or len(content) < wanted:
                self._end()
        except OSError as error:
            raise TslcError(f"{self._blob.path}: {error.strerror}") from None
        return content

    def _end(self) -> None:
        self._ended = True
        if self._file is None:
            return
        longer = self._file.read(1)
        self._file.close()
        if self._left or longer or self._digest.hexdigest() != self._blob.sha256:
            raise TslcError(
                f"{self._blob.path} is not what the archive was built with",
                hint="build the archive again, or bring the file back",
            )


class _Told:
    """A subscriber as s3transfer has them: it is asked for its methods, never for its class."""

    def __init__(
        self,
        blob: LocalBlob,
        count: Callable[[int], None],
        ended: SimpleQueue[tuple[LocalBlob, Any]],
    ) -> None:
        self._blob = blob
        self._count = count
        self._ended = ended

    def on_queued(self, future: Any, **_: Any) -> None:
        future.meta.provide_transfer_size(self._blob.size)

    def on_progress(self, future: Any, bytes_transferred: int, **_: Any) -> None:
        self._count(bytes_transferred)

    def on_done(self, future: Any, **_: Any) -> None:
        self._ended.put((self._blob, future))
