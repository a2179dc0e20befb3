"""What lies in a store: which blobs, which manifests. Reads only, many at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from tslc.adapters.blob_fetch import changed_blob, cut_blob, missing_blob
from tslc.adapters.parallel import at_once
from tslc.adapters.s3_store import S3Store, StoredObject
from tslc.domain.store_layout import BLOBS, BlobKey, blob_key, read_key
from tslc.domain.store_plan import Blob, StoredBlob


def find_blobs(store: S3Store, digests: Iterable[str]) -> tuple[StoredBlob, ...]:
    """Those of the blobs that are in the store, by their sizes and times; contents are not read."""

    def look(sha256: str) -> StoredBlob | None:
        found = store.stat(blob_key(sha256))
        return StoredBlob(sha256, found.size, found.modified) if found else None

    return tuple(found for found in at_once(look, digests) if found)


def all_blobs(store: S3Store) -> Iterator[StoredBlob]:
    """Every blob; what else lies below their prefix is left out."""
    for found in store.list(BLOBS):
        if blob := as_blob(found):
            yield blob


def as_blob(found: StoredObject) -> StoredBlob | None:
    match read_key(found.key):
        case BlobKey(sha256):
            return StoredBlob(sha256, found.size, found.modified)
    return None


def read_blob(store: S3Store, blob: Blob) -> bytes:
    """A small blob's bytes, verified; raises Damaged."""
    content = store.get(blob_key(blob.sha256), max(blob.size, 1))
    if content is None:
        raise missing_blob(store, blob)
    if len(content) != blob.size:
        raise cut_blob(store, blob, len(content))
    if hashlib.sha256(content).hexdigest() != blob.sha256:
        raise changed_blob(store, blob)
    return content
