"""`tslc pull`: a version from the store as a folder, every byte verified before it is in place.

DIR/<model>-<version>/archive/...    links into the content cache, as are the weights
DIR/<model>-<version>/weights/...
DIR/<model>-<version>/manifest.json, signature.json
DIR/<model>-<version>/<model>-<version>.mar
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tslc.adapters import version_folder
from tslc.adapters.blob_fetch import fetch_blobs
from tslc.adapters.content_cache import ContentCache
from tslc.adapters.s3_store import S3Store
from tslc.domain.store_manifest import StoreManifest
from tslc.domain.store_plan import plan_transfer
from tslc.domain.trust import Check, Version
from tslc.errors import TslcError
from tslc.verbs.progress import Progress, counter
from tslc.verbs.store_access import expect_itself, read_manifest, read_signature


class PullOutcome(StrEnum):
    PULLED = "pulled"
    UNCHANGED = "unchanged"
    WOULD_PULL = "would pull"


@dataclass(frozen=True)
class Pulled:
    """Bytes that came from the store, that an earlier pull had fetched before it was cut short,
    that were in the cache; bytes that the cache gave up afterwards."""

    outcome: PullOutcome
    manifest: StoreManifest
    folder: Path
    archive: Path
    trust: str
    fetched_bytes: int = 0
    resumed_bytes: int = 0
    cached_bytes: int = 0
    evicted_bytes: int = 0


def pull(
    store: S3Store,
    cache: ContentCache,
    model: str,
    version: str,
    directory: Path,
    *,
    check: Check,
    dry_run: bool = False,
    progress: Progress = lambda done, total: None,
) -> Pulled:
    """Bring a version. `check` decides whether it is trusted, before any content is fetched.

    Raises NoSuchVersion, Refused for what is not trusted or not what the manifest says.
    """
    manifest = read_manifest(store, model, version)
    expect_itself(store, manifest)
    signature = read_signature(store, model, version)
    trust = check(Version.stored(manifest), signature)
    folder = directory.absolute() / f"{model}-{version}"
    archive = folder / (version_folder.packed_name(manifest) or "archive.mar")
    plan = plan_transfer(manifest, cache.sizes(manifest.blobs))
    if dry_run:
        return Pulled(
            PullOutcome.WOULD_PULL,
            manifest,
            folder,
            archive,
            trust,
            fetched_bytes=plan.moved_bytes,
            cached_bytes=plan.reused_bytes,
        )
    advance = counter(plan.moved_bytes + plan.reused_bytes, progress)
    with cache.lease(manifest.blobs):
        evicted = cache.evict(room=plan.moved_bytes)
        taken = cache.reserved({blob.sha256: blob.size for blob in plan.move})
        _expect_room(cache, plan.moved_bytes - taken)
        fetched = fetch_blobs(store, cache, (*plan.move, *plan.reuse), advance)
        changed = version_folder.place_version(folder, manifest, signature, cache)
    return Pulled(
        PullOutcome.PULLED if changed else PullOutcome.UNCHANGED,
        manifest,
        folder,
        archive,
        trust,
        fetched_bytes=fetched.sent,
        resumed_bytes=fetched.resumed,
        cached_bytes=fetched.cached,
        evicted_bytes=evicted + cache.evict(),
    )


def _expect_room(cache: ContentCache, needed: int) -> None:
    free = version_folder.free_bytes(cache.folder)
    if needed > free:
        short = f"{needed / 1e9:.1f} GB to fetch, {free / 1e9:.1f} GB free"
        hint = "make room, or put the cache elsewhere: --cache DIR"
        raise TslcError(f"no room in {cache.folder}: {short}", hint=hint)
