"""What every verb of the store begins with: the store of the settings, and versions read from it.

Nothing of a manifest is used before it has been read as one, and is the one of the version asked
for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

from tslc.adapters.blob_inventory import read_blob
from tslc.adapters.content_cache import ContentCache
from tslc.adapters.parallel import at_once
from tslc.adapters.s3_store import Credentials, S3Store, StoreAddress
from tslc.adapters.seaweedfs import endpoint
from tslc.domain.archive_name import model_name_problem, version_problem
from tslc.domain.manifest import MANIFEST_NAME, Manifest
from tslc.domain.node import NodePaths
from tslc.domain.settings import BucketUrl, LocalStore, Settings
from tslc.domain.store_layout import (
    ARCHIVE,
    MODELS,
    ManifestKey,
    SignatureKey,
    manifest_key,
    read_key,
    signature_key,
)
from tslc.domain.store_manifest import MAX_BYTES, Kind, StoreManifest, stored_files
from tslc.domain.store_plan import Blob
from tslc.domain.vocabulary import nearest
from tslc.errors import BadFile, BadInput, Refused

MOST_SIGNATURE = 64 * 1024 * 1024


class NoSuchVersion(BadInput):
    """The store has no such version."""


@dataclass(frozen=True)
class ListedVersion:
    model: str
    version: str
    signed: bool


def open_store(settings: Settings, node: NodePaths, *, impatient: bool = False) -> S3Store:
    """The store that the settings name, or `node`'s own. Asks nothing of it yet.

    `impatient`: for one who asks again by himself.

    Raises NotRunning when the node's store is meant and does not run.
    """
    match settings.store.url:
        case BucketUrl(bucket, prefix):
            address = StoreAddress(
                bucket=bucket,
                prefix=prefix,
                endpoint_url=settings.store.endpoint_url,
                region=settings.store.region,
                encryption=settings.store.encryption,
            )
        case LocalStore():
            found = endpoint(node)
            address = StoreAddress(
                bucket=found.bucket,
                endpoint_url=found.endpoint_url,
                region=found.region,
                encryption=settings.store.encryption,
                credentials=Credentials(found.access_key, found.secret_key),
            )
        case other:
            assert_never(other)
    return S3Store(address, impatient=impatient)


def open_cache(settings: Settings) -> ContentCache:
    return ContentCache(settings.cache.path, settings.cache.max_size)


def find_manifest(store: S3Store, model: str, version: str) -> StoreManifest | None:
    """A version's manifest, None when there is no such version.

    Raises Refused for one that is damaged, edited or another version's.
    """
    content = store.get(manifest_key(model, version), MAX_BYTES)
    if content is None:
        return None
    subject = f"{store.address}/{manifest_key(model, version)}"
    try:
        manifest = StoreManifest.parse(content, subject)
    except BadFile as error:
        hint = f"don't use {model} {version}; push it again under a new version"
        raise Refused(error.message, hint=hint) from None
    if (manifest.model, manifest.version) != (model, version):
        said = f"{manifest.model} {manifest.version}"
        raise Refused(f"{subject} is the manifest of {said}", hint="don't use it")
    return manifest


def read_manifest(store: S3Store, model: str, version: str) -> StoreManifest:
    """Like `find_manifest`; raises NoSuchVersion, with the nearest one there is."""
    problem = model_name_problem(model) or version_problem(version)
    if problem:
        raise BadInput(f"{model} {version}: {problem}")
    manifest = find_manifest(store, model, version)
    if manifest is None:
        raise _no_version(store, model, version)
    return manifest


def expect_itself(store: S3Store, manifest: StoreManifest) -> None:
    """Whether an archive that tslc built is the version it is stored as.

    Its own manifest is among its files, so a signature over these holds for that version alone.
    Raises Refused, Damaged.
    """
    if manifest.kind is not Kind.TSLC:
        return
    path = f"{ARCHIVE}{MANIFEST_NAME}"
    entry = manifest.files.get(path)
    named = f"{manifest.model} {manifest.version}"
    hint = f"don't use {named}; push it again under a new version"
    if entry is None or entry.size > MAX_BYTES:
        raise Refused(f"{named} in {store.address} holds no archive that tslc built", hint=hint)
    content = read_blob(store, Blob(entry.sha256, entry.size, path))
    try:
        inner = Manifest.parse(content, f"{store.address}: {path} of {named}")
    except BadFile as error:
        raise Refused(error.message, hint=hint) from None
    if (inner.model, inner.version) != (manifest.model, manifest.version):
        holds = f"{inner.model} {inner.version}"
        raise Refused(f"{named} in {store.address} holds the archive of {holds}", hint=hint)
    if stored_files(inner) != dict(manifest.files):
        raise Refused(f"{named} in {store.address} has other files than its archive", hint=hint)


def read_signature(store: S3Store, model: str, version: str) -> bytes | None:
    return store.get(signature_key(model, version), MOST_SIGNATURE)


def list_versions(store: S3Store, model: str | None = None) -> tuple[ListedVersion, ...]:
    """Every version of a model, or of all, by name."""
    prefix = f"{MODELS}{model}/" if model else MODELS
    manifests, signed = set(), set()
    for found in store.list(prefix):
        match read_key(found.key):
            case ManifestKey(name, version):
                manifests.add((name, version))
            case SignatureKey(name, version):
                signed.add((name, version))
    return tuple(ListedVersion(*one, one in signed) for one in sorted(manifests))


def read_manifests(store: S3Store, versions: Iterable[ListedVersion]) -> tuple[StoreManifest, ...]:
    """The manifests of versions that were listed; one that is gone meanwhile is left out."""
    read = at_once(lambda one: find_manifest(store, one.model, one.version), versions)
    return tuple(manifest for manifest in read if manifest)


def _no_version(store: S3Store, model: str, version: str) -> NoSuchVersion:
    versions = [one.version for one in list_versions(store, model)]
    if versions:
        message = f"{store.address} has no version {version} of {model}"
        alike = nearest(version, versions) or versions[-1]
        return NoSuchVersion(message, hint=f"tslc list {model} (nearest: {alike})")
    models = sorted({one.model for one in list_versions(store)})
    near = nearest(model, models)
    hint = f"tslc list (nearest: {near})" if near else "tslc list"
    return NoSuchVersion(f"{store.address} has no model {model}", hint=hint)
