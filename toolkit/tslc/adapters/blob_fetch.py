"""Blobs on their way out of the store: in parallel segments, each blob verified before it counts.

What a fetch that was killed had complete is used, and verified like the rest.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from tslc.adapters.content_cache import ContentCache
from tslc.adapters.partial_content import PartialContent
from tslc.adapters.s3_errors import Missing
from tslc.adapters.s3_store import S3Store, Short
from tslc.domain.store_layout import blob_key
from tslc.domain.store_plan import Blob
from tslc.errors import Refused, TslcError

_BLOBS = 4
_SEGMENTS = 8
_READ = 1024 * 1024


class Damaged(Refused):
    """The store's content is not what its name says."""


class _Stopped(TslcError):
    """Another part of the fetch has failed; that failure is the one to tell."""


@dataclass
class Fetched:
    """Bytes that came from the store, bytes of an earlier fetch that was cut short, bytes that
    were in the cache."""

    sent: int = 0
    resumed: int = 0
    cached: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)


def fetch_blobs(
    store: S3Store, cache: ContentCache, blobs: Iterable[Blob], advance: Callable[[int], None]
) -> Fetched:
    """Bring every blob into the cache; `advance` is called with bytes that are there.

    The caller leases them. Raises Damaged for a blob that is missing, cut or changed.
    """
    fetched = Fetched()

    def count(done: int) -> None:
        with fetched.lock:
            advance(done)

    with ThreadPoolExecutor(_BLOBS) as pool, ThreadPoolExecutor(_SEGMENTS) as segments:
        fetch = _Fetch(store, cache, segments, fetched, count)
        futures = [pool.submit(fetch.blob, blob) for blob in blobs]
        try:
            # The first failure ends it, whichever blob it is of.
            for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                future.result()
        except BaseException as error:
            first = fetch.fail(error)
            pool.shutdown(cancel_futures=True)
            if first is not error:
                raise first from None
            raise
    return fetched


class _Fetch:
    def __init__(
        self,
        store: S3Store,
        cache: ContentCache,
        segments: ThreadPoolExecutor,
        fetched: Fetched,
        count: Callable[[int], None],
    ) -> None:
        self.store, self.cache, self.segments = store, cache, segments
        self.fetched, self.count = fetched, count
        self.failure: BaseException | None = None

    def fail(self, error: BaseException) -> BaseException:
        """End all of it; returns the failure that was first."""
        with self.fetched.lock:
            self.failure = self.failure or error
            return self.failure

    def blob(self, blob: Blob) -> None:
        if self._cached(blob):
            return
        with self.cache.partial(blob.sha256, blob.size) as part:
            # Another process may have brought it while this one waited.
            if self._cached(blob):
                part.forget()
                return
            missing = part.missing()
            resumed = len(missing) < part.count
            if resumed:
                self._add(resumed=blob.size - _bytes(part, missing))
            if self._bring(blob, part, missing) != blob.sha256:
                part.empty()
                everything = tuple(range(part.count))
                if not resumed or self._bring(blob, part, everything) != blob.sha256:
                    part.empty()
                    raise changed_blob(self.store, blob)
            self.cache.place(part, blob.sha256)

    def _cached(self, blob: Blob) -> bool:
        if self.cache.find(blob.sha256, blob.size) is None:
            return False
        self._add(cached=blob.size)
        self.count(blob.size)
        return True

    def _bring(self, blob: Blob, part: PartialContent, missing: tuple[int, ...]) -> str:
        """Fetch the segments and hash the whole behind them; returns its digest."""
        under_way: dict[int, Future[None]] = {
            number: self.segments.submit(self._segment, blob, part, number) for number in missing
        }
        digest, buffer = hashlib.sha256(), memoryview(bytearray(_READ))
        try:
            for number in range(part.count):
                if number in under_way:
                    under_way[number].result()
                start, end = part.span(number)
                for offset in range(start, end, _READ):
                    read = part.read_into(buffer[: end - offset], offset)
                    digest.update(buffer[:read])
                self.count(end - start)
        except BaseException:
            # The file is closed behind this: nobody may still write to it.
            for future in under_way.values():
                future.cancel()
            for future in under_way.values():
                if not future.cancelled():
                    future.exception()
            raise
        return digest.hexdigest()

    def _segment(self, blob: Blob, part: PartialContent, number: int) -> None:
        try:
            self._fetch_segment(blob, part, number)
        except _Stopped:
            raise
        except BaseException as error:
            # At once, not when its blob is at its end: nobody asks a store again that stalls.
            self.fail(error)
            raise

    def _fetch_segment(self, blob: Blob, part: PartialContent, number: int) -> None:
        self._expect_no_failure()
        start, end = part.span(number)
        try:
            for chunk in self.store.stream(blob_key(blob.sha256), start, end):
                self._expect_no_failure()
                part.write(start, chunk)
                start += len(chunk)
                self._add(sent=len(chunk))
        except Missing:
            raise missing_blob(self.store, blob) from None
        except Short:
            raise cut_blob(self.store, blob) from None
        part.note(number)

    def _expect_no_failure(self) -> None:
        if self.failure:
            raise _Stopped("stopped: another blob failed")

    def _add(self, *, sent: int = 0, resumed: int = 0, cached: int = 0) -> None:
        with self.fetched.lock:
            self.fetched.sent += sent
            self.fetched.resumed += resumed
            self.fetched.cached += cached


def hash_blob(store: S3Store, blob: Blob, advance: Callable[[int], None]) -> None:
    """Read a blob and keep nothing; raises Damaged when it is missing, cut, too long or changed."""
    key, digest = blob_key(blob.sha256), hashlib.sha256()
    found = store.stat(key)
    if found is None:
        raise missing_blob(store, blob)
    if found.size != blob.size:
        raise cut_blob(store, blob, found.size)
    try:
        for chunk in store.stream(key, 0, blob.size):
            digest.update(chunk)
            advance(len(chunk))
    except Missing:
        raise missing_blob(store, blob) from None
    except Short:
        raise cut_blob(store, blob) from None
    if digest.hexdigest() != blob.sha256:
        raise changed_blob(store, blob)


def _bytes(part: PartialContent, numbers: Iterable[int]) -> int:
    return sum(end - start for start, end in map(part.span, numbers))


_MEND = "push the archive again with --repair: it sends every blob anew"


def _named(store: S3Store, blob: Blob) -> str:
    return f"{blob.path} ({store.address}/{blob_key(blob.sha256)})"


def missing_blob(store: S3Store, blob: Blob) -> Damaged:
    return Damaged(f"missing in the store: {_named(store, blob)}", hint=_MEND)


def cut_blob(store: S3Store, blob: Blob, size: int | None = None) -> Damaged:
    has = f"has {size} bytes, not {blob.size}" if size is not None else f"not {blob.size} bytes"
    return Damaged(f"truncated in the store: {_named(store, blob)}: {has}", hint=_MEND)


def changed_blob(store: S3Store, blob: Blob) -> Damaged:
    said = f"its bytes are not what its name says: {_named(store, blob)}"
    return Damaged(f"damaged in the store: {said}", hint=_MEND)
