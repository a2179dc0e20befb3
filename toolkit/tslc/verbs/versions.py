"""`tslc list`, `show`, `diff` and `verify`: what the store has, said without fetching it."""

from __future__ import annotations

from dataclasses import dataclass

from tslc.adapters.blob_fetch import Damaged, hash_blob
from tslc.adapters.blob_inventory import read_blob
from tslc.adapters.parallel import at_once
from tslc.adapters.s3_store import S3Store
from tslc.domain.store_manifest import StoreManifest
from tslc.domain.store_plan import Blob, blobs_of
from tslc.domain.trust import Check, Version
from tslc.domain.version_diff import PartDiff, diff
from tslc.errors import Refused
from tslc.verbs.progress import Progress, counter
from tslc.verbs.store_access import (
    NoSuchVersion,
    expect_itself,
    find_manifest,
    list_versions,
    read_manifest,
    read_signature,
)


@dataclass(frozen=True)
class Row:
    """A version of `tslc list`; `manifest` is None for one whose manifest can't be used, for the
    reason in `problem`."""

    model: str
    version: str
    signed: bool
    manifest: StoreManifest | None
    problem: str | None = None


@dataclass(frozen=True)
class Shown:
    manifest: StoreManifest
    signed: bool


@dataclass(frozen=True)
class Verified:
    manifest: StoreManifest
    trust: str
    blobs: int
    bytes: int


def list_rows(store: S3Store, model: str | None) -> tuple[Row, ...]:
    """Every version, one with a broken manifest too. Raises NoSuchVersion for an unknown model."""
    versions = list_versions(store, model)
    if model and not versions:
        raise NoSuchVersion(f"{store.address} has no model {model}", hint="tslc list")

    def row(index: int) -> Row:
        one = versions[index]
        try:
            manifest = find_manifest(store, one.model, one.version)
        except Refused as error:
            return Row(one.model, one.version, one.signed, None, error.message)
        return Row(one.model, one.version, one.signed, manifest)

    return tuple(at_once(row, range(len(versions))))


def show(store: S3Store, model: str, version: str) -> Shown:
    manifest = read_manifest(store, model, version)
    return Shown(manifest, read_signature(store, model, version) is not None)


def diff_versions(store: S3Store, model: str, one: str, other: str) -> tuple[PartDiff, ...]:
    """What changed from `one` to `other`, part by part."""

    def text(manifest: StoreManifest, path: str) -> bytes | None:
        entry = manifest.files.get(path)
        return read_blob(store, Blob(entry.sha256, entry.size, path)) if entry else None

    before, after = (read_manifest(store, model, version) for version in (one, other))
    return diff(before, after, text)


def verify(
    store: S3Store,
    model: str,
    version: str,
    *,
    check: Check,
    progress: Progress = lambda done, total: None,
) -> Verified:
    """Read every byte of a version and keep none. Raises Refused with everything that is wrong."""
    manifest = read_manifest(store, model, version)
    expect_itself(store, manifest)
    trust = check(Version.stored(manifest), read_signature(store, model, version))
    blobs = blobs_of(manifest)
    advance = counter(sum(blob.size for blob in blobs), progress)

    def problem(blob: Blob) -> str | None:
        try:
            hash_blob(store, blob, advance)
        except Damaged as error:
            return error.message
        return None

    if problems := [found for found in at_once(problem, blobs) if found]:
        hint = f"tslc push --repair the archive of {model} {version}: it sends every blob anew"
        head = f"{model} {version} must not be used:" if problems[1:] else ""
        raise Refused("\n  ".join([head, *problems] if head else problems), hint=hint)
    return Verified(manifest, trust, len(blobs), sum(blob.size for blob in blobs))
