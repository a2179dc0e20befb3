"""Laws of the store's pure parts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tslc.domain.cache_plan import CachedContent, plan_eviction
from tslc.domain.manifest import FileEntry
from tslc.domain.provenance import Git, Provenance, builder_name, git_of, printable
from tslc.domain.store_layout import (
    BlobKey,
    ManifestKey,
    Place,
    SignatureKey,
    key_of,
    read_key,
)
from tslc.domain.store_manifest import Kind, PickleAllowed, StoreManifest
from tslc.domain.store_plan import (
    LEAST_GRACE,
    RENEW_AFTER,
    StoredBlob,
    blobs_of,
    names_in,
    plan_gc,
    plan_push,
    plan_transfer,
    versions_in,
)
from tslc.domain.version_diff import diff
from tslc.errors import BadFile

NOW = datetime(2026, 1, 1, tzinfo=UTC)
digests = st.integers(0, 30).map(lambda n: f"{n:064x}")
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,8}", fullmatch=True)
texts = st.text(max_size=20).map(printable)
provenances = st.builds(
    Provenance,
    created=texts,
    builder=texts,
    host=texts,
    git=st.none() | st.builds(Git, texts, st.booleans()),
    tslc=texts,
    python=texts,
    vllm=st.none() | texts,
)


def entry(sha256: str) -> FileEntry:
    """One digest has one size."""
    return FileEntry(sha256, int(sha256, 16) * 1000)


@st.composite
def manifests(draw: st.DrawFn) -> StoreManifest:
    paths = draw(st.sets(names, min_size=1, max_size=8))
    sides = {path: draw(st.sampled_from(["archive/", "weights/", "archive/d/"])) for path in paths}
    files = {f"{sides[path]}x{path}": entry(draw(digests)) for path in paths}
    pickle = draw(st.none() | st.just(PickleAllowed("someone", tuple(files)[:1])))
    return StoreManifest(Kind.TSLC, draw(names), draw(names), files, draw(provenances), pickle)


@given(manifests())
def test_a_manifest_read_back_is_the_same(manifest: StoreManifest):
    assert StoreManifest.parse(manifest.render()) == manifest


@given(manifests(), st.data())
def test_a_changed_byte_of_a_manifest_never_goes_unseen(manifest: StoreManifest, data):
    content = manifest.render()
    at = data.draw(st.integers(0, len(content) - 1))
    flipped = content[at] ^ data.draw(st.integers(1, 255))
    changed = content[:at] + bytes([flipped]) + content[at + 1 :]
    with pytest.raises(BadFile):
        StoreManifest.parse(changed)


@given(manifests(), provenances)
def test_who_pushed_it_does_not_change_the_content(manifest: StoreManifest, other: Provenance):
    assert replace(manifest, provenance=other).content == manifest.content
    assert replace(manifest, version="other").content != manifest.content


places = (st.builds(BlobKey, digests) | st.builds(ManifestKey, names, names)) | st.builds(
    SignatureKey, names, names
)


@given(places)
def test_a_key_is_read_as_the_place_it_was_made_of(place: Place):
    assert read_key(key_of(place)) == place


@given(st.text(max_size=90) | st.text(max_size=9).map("models/a/{}/manifest.json".format))
def test_a_key_of_another_form_is_left_alone(key: str):
    place = read_key(key)
    assert place is None or key_of(place) == key


@given(manifests(), st.dictionaries(digests, st.integers(0, 30_000)))
def test_each_content_is_moved_or_reused_once(manifest: StoreManifest, there: dict[str, int]):
    plan = plan_transfer(manifest, there)
    both = [blob.sha256 for blob in (*plan.move, *plan.reuse)]
    assert sorted(both) == sorted(manifest.blobs)
    assert plan.moved_bytes + plan.reused_bytes == sum(manifest.blobs.values())
    assert all(there[blob.sha256] == blob.size for blob in plan.reuse)
    assert all(there.get(blob.sha256) != blob.size for blob in plan.move)


ages = st.integers(-100, 400).map(lambda hours: NOW - timedelta(hours=hours))
stored = st.lists(
    st.builds(lambda s, at: StoredBlob(s, entry(s).size, at), digests, ages),
    unique_by=lambda blob: blob.sha256,
)


@given(stored, st.sets(digests), st.integers(0, 300).map(lambda hours: timedelta(hours=hours)))
def test_gc_never_takes_what_is_named_or_young(blobs, named, grace):
    plan = plan_gc(blobs, named, NOW, grace)
    assert sorted(map(id, (*plan.go, *plan.named, *plan.young))) == sorted(map(id, blobs))
    for blob in plan.go:
        assert blob.sha256 not in named
        assert NOW - blob.modified >= max(grace, LEAST_GRACE)


@given(manifests(), stored, st.sets(digests))
def test_what_a_push_reuses_no_gc_of_that_hour_takes(manifest, blobs, named):
    plan = plan_push(manifest, blobs, named, NOW)
    later = NOW + LEAST_GRACE - RENEW_AFTER
    going = {blob.sha256 for blob in plan_gc(blobs, named, later, LEAST_GRACE).go}
    assert not going & {blob.sha256 for blob in plan.reuse}


@given(manifests())
def test_big_contents_go_first(manifest: StoreManifest):
    sizes = [blob.size for blob in blobs_of(manifest)]
    assert sizes == sorted(sizes, reverse=True)


contents = st.lists(
    st.builds(CachedContent, digests, st.integers(0, 50), st.floats(0, 100), st.booleans()),
    unique_by=lambda one: one.sha256,
)


@given(contents, st.sets(digests), st.integers(0, 300))
def test_eviction_spares_what_is_in_use_and_stops_when_the_rest_fits(present, leased, size):
    going = plan_eviction(present, leased, size)
    left = sum(one.size for one in present) - sum(one.size for one in going)
    assert not any(one.linked or one.sha256 in leased for one in going)
    free = [one for one in present if not one.linked and one.sha256 not in leased]
    assert left <= size or len(going) == len(free)
    if going:
        assert left + going[-1].size > size
        assert all(one.used >= max(gone.used for gone in going) or one in going for one in free)


@given(manifests(), manifests())
def test_a_diff_forgets_nothing_and_the_way_back_is_the_reverse(one, other):
    def no_texts(_: StoreManifest, path: str) -> bytes | None:
        return None

    assert not any(part.changes for part in diff(one, one, no_texts))
    there, back = diff(one, other, no_texts), diff(other, one, no_texts)
    assert [p.part for p in there] == [p.part for p in back]
    for forth, reverse in zip(there, back, strict=True):
        assert forth.same == reverse.same
        turned = [(change.what, change.after, change.before) for change in reverse.changes]
        assert [(change.what, change.before, change.after) for change in forth.changes] == turned


def test_names_and_versions_are_found_however_deep():
    digest = "0123456789abcdef" * 4
    document = {"a": [{"weights": f"sha256:{digest}"}], digest: 1, "b": digest + "0"}
    assert set(names_in(document)) == {digest}
    split = {"splits": [{"model": "m", "version": "1"}, {"x": {"model": "m", "version": "2"}}]}
    assert set(versions_in(split)) == {("m", "1"), ("m", "2")}


def test_a_build_job_says_who_started_it_and_what_it_built():
    job = {"CODEBUILD_INITIATOR": "pipeline", "CODEBUILD_RESOLVED_SOURCE_VERSION": "abc"}
    assert builder_name(job, "root") == "pipeline"
    assert builder_name({}, "someone") == "someone"
    assert git_of(None, False, job) == Git("abc", False)
    assert git_of("def", True, job) == Git("def", True)
    assert git_of(None, False, {}) is None


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"elsewhere/a": entry("0" * 64)},
        {"archive/../a": entry("0" * 64)},
        {"archive/a": FileEntry("x", 1)},
        {"archive/a": FileEntry("0" * 64, 1), "archive/b": FileEntry("0" * 64, 2)},
        {"archive/a": entry("0" * 64), "archive/a/b": entry("0" * 64)},
    ],
)
def test_a_manifest_that_makes_no_sense_can_not_be_made(files):
    who = Provenance("t", "b", "h", None, "1", "3")
    with pytest.raises(BadFile):
        StoreManifest(Kind.TSLC, "m", "1", files, who)
    with pytest.raises(BadFile):
        StoreManifest(Kind.FOREIGN, "m", "1", files, who)


@given(manifests())
def test_nothing_that_drives_a_terminal_is_taken(manifest: StoreManifest):
    with pytest.raises(BadFile, match="control characters"):
        replace(manifest, provenance=replace(manifest.provenance, builder="ann\x1b[2J"))
    assert builder_name({"TSLC_BUILDER": "ann\x1b[2J\n"}, "") == "ann?[2J?"
