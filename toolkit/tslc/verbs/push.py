"""`tslc push`: bring a version into the store; what is there already is not sent again.

Contents go first, the manifest last and only where there is none: a version is complete when it
can be seen, and never changes. Whoever comes second with the same content has succeeded too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import sha256
from pathlib import Path

from tslc.adapters.blob_inventory import find_blobs
from tslc.adapters.blob_upload import LocalBlob, upload_blobs
from tslc.adapters.clock import now
from tslc.adapters.s3_errors import AlreadyThere
from tslc.adapters.s3_store import S3Store
from tslc.domain.store_layout import manifest_key, signature_key
from tslc.domain.store_manifest import StoreManifest
from tslc.domain.store_plan import RENEW_AFTER, Blob, Transfer, blobs_of, plan_push
from tslc.domain.trust import Signature
from tslc.errors import BadInput, Refused, RemoteFailed
from tslc.verbs.progress import Progress, counter
from tslc.verbs.store_access import find_manifest, list_versions, read_manifests, read_signature

_TRIES = 3
Sign = Callable[[StoreManifest], bytes]
"""The signing bundle of a version's files."""


@dataclass(frozen=True)
class PushSource:
    """A version to be pushed: its manifest, and where its contents lie.

    `files` opens them by their paths in the manifest. Those that are not there (weights that lie
    elsewhere) have to be in the store.
    """

    manifest: StoreManifest
    files: Callable[[], AbstractContextManager[Mapping[str, Path]]]


class PushOutcome(StrEnum):
    PUSHED = "pushed"
    EXISTS = "exists"
    WOULD_PUSH = "would push"


@dataclass(frozen=True)
class Pushed:
    """`manifest`: the one in the store, which may be another's with the same content. Counts are
    of blobs, bytes are those of blobs sent and of blobs that were there."""

    outcome: PushOutcome
    manifest: StoreManifest
    store: str
    sent: int = 0
    sent_bytes: int = 0
    reused: int = 0
    reused_bytes: int = 0
    signed: bool = False


def push(
    store: S3Store,
    source: PushSource,
    *,
    sign: Sign | None = None,
    repair: bool = False,
    dry_run: bool = False,
    progress: Progress = lambda done, total: None,
) -> Pushed:
    """Push a version. `repair` sends every blob, there or not.

    Raises Refused when the version exists with other content, BadInput when a content is neither
    here nor in the store.
    """
    ours = source.manifest
    theirs = find_manifest(store, ours.model, ours.version)
    if theirs is not None:
        _expect_same(ours, theirs)
        if not repair:
            signed = False if dry_run else _add_signature(store, theirs, sign)
            return Pushed(PushOutcome.EXISTS, theirs, str(store.address), signed=signed)
    plan = _plan(store, ours, repair=repair)
    done = _summary(PushOutcome.WOULD_PUSH, plan, ours, store)
    if dry_run:
        return done
    with source.files() as files:
        _send(store, plan.move, files, progress)
        _send_lost(store, ours, files, progress)
    manifest = _publish(store, ours) if theirs is None else theirs
    outcome = PushOutcome.PUSHED if manifest is ours or repair else PushOutcome.EXISTS
    signed = _add_signature(store, manifest, sign)
    return replace(done, outcome=outcome, manifest=manifest, signed=signed)


def _plan(store: S3Store, manifest: StoreManifest, *, repair: bool) -> Transfer:
    if repair:
        return Transfer(blobs_of(manifest), ())
    there = find_blobs(store, manifest.blobs)
    at = now()
    old = {blob.sha256 for blob in there if at - blob.modified >= RENEW_AFTER}
    named: set[str] = set()
    # Most often versions of the same model name them.
    for model in (manifest.model, None):
        if not old <= named:
            others = read_manifests(store, list_versions(store, model))
            named |= {sha256 for other in others for sha256 in other.blobs}
    return plan_push(manifest, there, named, at)


def _send_lost(
    store: S3Store, manifest: StoreManifest, files: Mapping[str, Path], progress: Progress
) -> None:
    """What a gc took meanwhile: of a push that lasts longer than its grace, even what was sent."""
    for _ in range(_TRIES):
        there = {blob.sha256 for blob in find_blobs(store, manifest.blobs)}
        lost = tuple(blob for blob in blobs_of(manifest) if blob.sha256 not in there)
        if not lost:
            return
        _send(store, lost, files, progress)
    raise RemoteFailed(
        f"{store.address} loses blobs of {manifest.model} {manifest.version} as they are sent",
        hint="is a `tslc gc` with a short --grace running? push again when it is done",
    )


def _send(
    store: S3Store, blobs: tuple[Blob, ...], files: Mapping[str, Path], progress: Progress
) -> None:
    if not blobs:
        return
    absent = [blob.path for blob in blobs if blob.path not in files]
    if absent:
        some = ", ".join(absent[:3]) + (f" and {len(absent) - 3} more" if absent[3:] else "")
        hint = "name the weights' folder with --weights"
        raise BadInput(f"neither here nor in the store: {some}", hint=hint)
    advance = counter(sum(blob.size for blob in blobs), progress)
    local = [LocalBlob(blob.sha256, blob.size, files[blob.path]) for blob in blobs]
    upload_blobs(store, local, advance)


def _publish(store: S3Store, ours: StoreManifest) -> StoreManifest:
    """Write the manifest if there is none; returns the one that is there then.

    When the answer to our own write was lost, ours is found and counts as another's.
    """
    content = ours.render()
    key = manifest_key(ours.model, ours.version)
    try:
        store.put(key, content, sha256(content).digest(), if_absent=True)
        return ours
    except AlreadyThere:
        theirs = find_manifest(store, ours.model, ours.version)
        if theirs is None:
            raise
        _expect_same(ours, theirs)
        return theirs


def _expect_same(ours: StoreManifest, theirs: StoreManifest) -> None:
    if theirs.content == ours.content:
        return
    by = f"pushed by {theirs.provenance.who} at {theirs.provenance.created}"
    raise Refused(
        f"{theirs.model} {theirs.version} exists already with other content, {by}",
        hint=f"give it a new version; what is there: tslc show {theirs.model} {theirs.version}",
    )


def _add_signature(store: S3Store, manifest: StoreManifest, sign: Sign | None) -> bool:
    """Whether a signature was added; the same key's over the same files may be there already.

    Raises Refused when there is another one: it stays, and ours would be nowhere.
    """
    if sign is None:
        return False
    content = sign(manifest)
    key = signature_key(manifest.model, manifest.version)
    try:
        store.put(key, content, sha256(content).digest(), if_absent=True)
    except AlreadyThere:
        from tslc.adapters.signing import read_signature as read

        theirs, ours = (read(one, ()) for one in (_signature(store, manifest), content))
        if isinstance(theirs, Signature) and isinstance(ours, Signature):
            if (theirs.key, theirs.files) == (ours.key, ours.files):
                return False
            by = f"signed by key {theirs.key[:16]}… already"
        else:
            by = "signed already, by something that can't be read"
        raise Refused(
            f"{manifest.model} {manifest.version} is in {store.address}, {by}; that stays",
            hint="give it a new version to sign it with another key",
        ) from None
    return True


def _signature(store: S3Store, manifest: StoreManifest) -> bytes:
    return read_signature(store, manifest.model, manifest.version) or b""


def _summary(
    outcome: PushOutcome, plan: Transfer, manifest: StoreManifest, store: S3Store
) -> Pushed:
    return Pushed(
        outcome,
        manifest,
        str(store.address),
        sent=len(plan.move),
        sent_bytes=plan.moved_bytes,
        reused=len(plan.reuse),
        reused_bytes=plan.reused_bytes,
    )
