"""What to send, what to fetch and what may go: desired and actual state in, the next actions out.

`gc` fails closed: whatever any manifest or environment names stays, and so does all that is young
enough to belong to a push under way, whose manifest comes last.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tslc.domain.store_manifest import StoreManifest

RENEW_AFTER = timedelta(hours=1)
"""A blob that no manifest names and that is older than this is sent again rather than reused, so
that it is young for a gc that runs meanwhile."""
LEAST_GRACE = timedelta(hours=2)
_HEX = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


@dataclass(frozen=True)
class Blob:
    """`path`: the first file of the version that has this content."""

    sha256: str
    size: int
    path: str


@dataclass(frozen=True)
class StoredBlob:
    sha256: str
    size: int
    modified: datetime


@dataclass(frozen=True)
class Transfer:
    """Blobs to move, in falling size, and those that are where they should be already."""

    move: tuple[Blob, ...]
    reuse: tuple[Blob, ...]

    @property
    def moved_bytes(self) -> int:
        return sum(blob.size for blob in self.move)

    @property
    def reused_bytes(self) -> int:
        return sum(blob.size for blob in self.reuse)


def blobs_of(manifest: StoreManifest) -> tuple[Blob, ...]:
    """Each content once, big ones first: they take longest."""
    found: dict[str, Blob] = {}
    for path in sorted(manifest.files):
        entry = manifest.files[path]
        found.setdefault(entry.sha256, Blob(entry.sha256, entry.size, path))
    return tuple(sorted(found.values(), key=lambda blob: (-blob.size, blob.path)))


def plan_transfer(manifest: StoreManifest, there: Mapping[str, int]) -> Transfer:
    """What to move when the other side has the contents `there` (digest to size).

    A content of another size there is a broken one: it is moved again.
    """
    move: list[Blob] = []
    reuse: list[Blob] = []
    for blob in blobs_of(manifest):
        (reuse if there.get(blob.sha256) == blob.size else move).append(blob)
    return Transfer(tuple(move), tuple(reuse))


def plan_push(
    manifest: StoreManifest,
    there: Iterable[StoredBlob],
    named: Iterable[str],
    now: datetime,
) -> Transfer:
    """What a push sends. `named`: digests that manifests of the store name already."""
    safe = set(named)
    reusable = {
        blob.sha256: blob.size
        for blob in there
        if blob.sha256 in safe or now - blob.modified < RENEW_AFTER
    }
    return plan_transfer(manifest, reusable)


@dataclass(frozen=True)
class GcPlan:
    """`go`: may be deleted. The rest stays because it is named, or young."""

    go: tuple[StoredBlob, ...]
    named: tuple[StoredBlob, ...]
    young: tuple[StoredBlob, ...]


def plan_gc(
    blobs: Iterable[StoredBlob], named: Iterable[str], now: datetime, grace: timedelta
) -> GcPlan:
    """Which blobs may go. `named`: every digest that a manifest or an environment names.

    A time in the future (clocks differ) counts as young.
    """
    needed = set(named)
    go: list[StoredBlob] = []
    kept: list[StoredBlob] = []
    young: list[StoredBlob] = []
    for blob in blobs:
        if blob.sha256 in needed:
            kept.append(blob)
        elif now - blob.modified < max(grace, LEAST_GRACE):
            young.append(blob)
        else:
            go.append(blob)
    return GcPlan(tuple(go), tuple(kept), tuple(young))


def names_in(document: Any) -> Iterator[str]:
    """Every SHA-256 that stands anywhere in a JSON document, as `sha256:<hex>` or bare."""
    match document:
        case str():
            yield from _HEX.findall(document)
        case list():
            for one in document:
                yield from names_in(one)
        case dict():
            for key, one in document.items():
                yield from names_in(key)
                yield from names_in(one)


def versions_in(document: Any) -> Iterator[tuple[str, str]]:
    """Every (model, version) that an environment's document names."""
    match document:
        case {"model": str(model), "version": str(version), **rest}:
            yield model, version
            yield from versions_in(list(rest.values()))
        case list():
            for one in document:
                yield from versions_in(one)
        case dict():
            yield from versions_in(list(document.values()))
