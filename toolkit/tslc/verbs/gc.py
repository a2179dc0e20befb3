"""`tslc gc`: contents that nothing refers to go, when they are old enough, and when told to.

Fails closed: if any manifest or environment can't be read, nothing goes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from tslc.adapters.blob_inventory import all_blobs, find_blobs
from tslc.adapters.clock import now
from tslc.adapters.s3_store import S3Store
from tslc.domain.store_layout import BLOBS, ENVIRONMENTS, BlobKey, blob_key, read_key
from tslc.domain.store_plan import LEAST_GRACE, GcPlan, names_in, plan_gc, versions_in
from tslc.errors import BadInput, Refused
from tslc.verbs.store_access import list_versions, read_manifests

_MOST_DOCUMENT = 64 * 1024 * 1024
_AT_ONCE = 200


@dataclass(frozen=True)
class Collected:
    """`deleted`: whether what may go went. Uploads: begun, never finished, past their grace."""

    plan: GcPlan
    uploads: int
    versions: int
    deleted: bool


def collect(
    store: S3Store, grace: timedelta, *, delete: bool, clock: Callable[[], datetime] = now
) -> Collected:
    """Find what may go; raises Refused when it can't be known what is referred to."""
    if grace < LEAST_GRACE:
        hours = int(LEAST_GRACE.total_seconds() // 3600)
        raise BadInput(
            f"a grace under {hours} hours could take contents of a push under way",
            hint=f"--grace {hours}h",
        )
    # Blobs before names: what a push adds between the two readings is named, or not seen at all.
    blobs = tuple(all_blobs(store))
    named, versions = _named(store)
    plan = plan_gc(blobs, named, clock(), grace)
    stale = tuple(_stale_uploads(store, clock() - grace))
    if delete:
        _delete(store, plan, grace, clock)
        for key, upload in stale:
            store.abort_upload(key, upload)
    return Collected(plan, len(stale), versions, delete)


def _delete(store: S3Store, plan: GcPlan, grace: timedelta, clock: Callable[[], datetime]) -> None:
    """In small lots, each looked at once more right before: a push may want one again.

    A push that is done between the two readings has sent old blobs anew, or looks for them itself.
    """
    digests = [blob.sha256 for blob in plan.go]
    for first in range(0, len(digests), _AT_ONCE):
        named, _ = _named(store)
        # The names took a while to read: the times are looked at last.
        there = find_blobs(store, digests[first : first + _AT_ONCE])
        again = plan_gc(there, named, clock(), grace)
        store.delete(blob_key(blob.sha256) for blob in again.go)


def _named(store: S3Store) -> tuple[set[str], int]:
    """Every digest that a manifest or an environment names; the count of versions."""
    listed = list_versions(store)
    manifests = read_manifests(store, listed)
    if len(manifests) != len(listed):
        raise Refused("versions are being removed just now", hint="run tslc gc again later")
    named = {sha256 for manifest in manifests for sha256 in manifest.blobs}
    there = {(manifest.model, manifest.version) for manifest in manifests}
    for key, document in _environment_documents(store):
        named.update(names_in(document))
        for model, version in versions_in(document):
            if (model, version) not in there and not key.split("/")[2:3] == ["history"]:
                raise Refused(
                    f"{key} names {model} {version}, which the store does not have",
                    hint="nothing is deleted until it has, or the environment names another",
                )
    return named, len(manifests)


def _environment_documents(store: S3Store) -> Iterator[tuple[str, object]]:
    for found in store.list(ENVIRONMENTS):
        content = store.get(found.key, _MOST_DOCUMENT)
        try:
            yield found.key, json.loads(content or b"null")
        except (ValueError, RecursionError):
            hint = "nothing is deleted while it can't be known what it names"
            raise Refused(f"{store.address}/{found.key} is not JSON", hint=hint) from None


def _stale_uploads(store: S3Store, before: datetime) -> Iterator[tuple[str, str]]:
    for key, upload, begun in store.unfinished_uploads(BLOBS):
        if isinstance(read_key(key), BlobKey) and begun <= before:
            yield key, upload
