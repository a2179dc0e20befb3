"""Versions in a real S3: pushed, pulled, compared, and refused when they are not what they were."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nodes import Node
from store_shop import Shop, tree, weights
from tslc.errors import Refused
from tslc.verbs.gc import collect
from tslc.verbs.push import push
from tslc.verbs.push_archive import archive_source

pytestmark = pytest.mark.integration
TINY = ("tiny", "1.0.0")
MANIFEST = "models/tiny/1.0.0/manifest.json"
WEIGHTS = weights(20)
SHARD = "weights/model-00001-of-00002.safetensors"


def blob_of(shop: Shop, path: str) -> str:
    entry = json.loads(shop.read(MANIFEST))["files"][path]
    return f"blobs/sha256/{entry['sha256']}"


@pytest.fixture(scope="session")
def archive(archives) -> Path:
    return archives.build("tiny", "1.0.0", weights=WEIGHTS)


@pytest.fixture(scope="session")
def next_archive(archives) -> Path:
    return archives.build("tiny", "1.1.0", weights=WEIGHTS, environment={"A": "b"})


def test_a_version_comes_back_byte_for_byte(shop: Shop, archive: Path):
    pushed = shop.ok("push", archive)
    assert pushed["outcome"] == "pushed"
    assert set(shop.objects()) == {MANIFEST} | {
        key for key in shop.objects() if key.startswith("blobs/sha256/")
    }
    pulled = shop.ok("pull", "tiny", "1.0.0", "out")
    folder = Path(pulled["folder"])
    assert (folder / "tiny-1.0.0.mar").read_bytes() == archive.read_bytes()
    for name, content in WEIGHTS.items():
        assert (folder / "weights" / name).read_bytes() == content
    assert (folder / "manifest.json").read_bytes() == shop.read(MANIFEST)
    assert pulled["fetched_bytes"] == pushed["sent_bytes"]


def test_the_second_version_with_the_same_weights_sends_under_a_hundredth(
    shop: Shop, archive: Path, next_archive: Path
):
    first = shop.ok("push", archive)
    before = shop.objects()
    second = shop.ok("push", next_archive)
    added = {key: size for key, size in shop.objects().items() if key not in before}
    assert sum(added.values()) < first["sent_bytes"] / 100
    assert second["sent_bytes"] < first["sent_bytes"] / 100
    one, two = (shop.ok("pull", "tiny", version, "out") for version in ("1.0.0", "1.1.0"))
    assert two["fetched_bytes"] == second["sent_bytes"]
    shard = Path(one["folder"], SHARD)
    assert shard.samefile(Path(two["folder"], SHARD))


def test_pushing_again_succeeds_and_says_so(shop: Shop, archive: Path):
    shop.ok("push", archive)
    before = shop.objects()
    again = shop("push", archive)
    assert again.code == 0
    assert "already, the same content" in again.out
    assert shop.objects() == before


def test_other_content_under_the_same_version_is_refused_and_says_whose_is_there(
    shop: Shop, archive: Path, archives
):
    shop.ok("push", archive)
    before = shop.read(MANIFEST)
    other = archives.build("tiny", "1.0.0", weights=WEIGHTS, environment={"B": "c"})
    refused = shop("push", other)
    assert refused.code == 3
    who = json.loads(before)["provenance"]
    assert f"pushed by {who['builder']} on {who['host']} at {who['created']}" in refused.err
    assert shop.read(MANIFEST) == before


def test_weights_that_changed_since_the_build_are_not_sent(shop: Shop, archives):
    archive = archives.build("tiny", "1.0.0", weights=weights(20, seed=7))
    shard = next((archive.parent / "weights").glob("*")).resolve() / Path(SHARD).name
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    refused = shop("push", archive)
    assert refused.code == 1
    assert "not what the archive was built with" in refused.err
    assert MANIFEST not in shop.objects()
    assert blob_absent(shop, archive)


def blob_absent(shop: Shop, archive: Path) -> bool:
    return all(size < 16 << 20 for size in shop.objects().values())


def test_weights_that_are_in_the_store_need_not_be_at_hand(
    shop: Shop, archive: Path, next_archive: Path, tmp_path: Path
):
    alone = tmp_path / "alone" / next_archive.name
    alone.parent.mkdir()
    alone.write_bytes(next_archive.read_bytes())
    refused = shop("push", alone)
    assert refused.code == 2
    assert "neither here nor in the store: weights/" in refused.err
    shop.ok("push", archive)
    assert shop.ok("push", alone)["outcome"] == "pushed"


def test_ten_processes_with_two_contents_make_one_winner(shop: Shop, archive: Path, archives):
    other = archives.build("tiny", "1.0.0", weights=WEIGHTS, environment={"B": "c"})
    running = [shop.start("push", (archive, other)[n % 2], "--json") for n in range(10)]
    ended = [process.communicate(timeout=280) for process in running]
    won = json.loads(shop.read(MANIFEST))["content"]
    winners = {json.loads(out)["content"] for out, _ in ended if out.strip()}
    assert winners == {won}
    codes = [process.returncode for process in running]
    assert sorted(codes) == [0] * 5 + [3] * 5
    assert len({code for code, n in zip(codes, range(10), strict=True) if n % 2}) == 1
    for (_, err), code in zip(ended, codes, strict=True):
        assert code == 0 or "exists already with other content, pushed by" in err
    outcomes = [json.loads(out)["outcome"] for out, _ in ended if out.strip()]
    assert outcomes.count("pushed") == 1
    assert shop("verify", "tiny", "1.0.0").code == 0


def flip(content: bytes) -> bytes:
    return content[:-9] + bytes([content[-9] ^ 4]) + content[-8:]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda shop: change(shop, blob_of(shop, SHARD), flip), "damaged in the store"),
        (lambda shop: change(shop, blob_of(shop, SHARD), lambda c: c[:-5]), "truncated in the"),
        (lambda shop: remove(shop, blob_of(shop, SHARD)), "missing in the store"),
        (
            lambda shop: change(shop, blob_of(shop, "archive/model-config.yaml"), flip),
            "damaged in the store: its bytes are not what its name says: archive/model-config",
        ),
        (
            lambda shop: change(shop, MANIFEST, lambda c: c.replace(b'"size": 1', b'"size": 2', 1)),
            "not the digest of the files: it was changed after it was written",
        ),
        (
            lambda shop: change(shop, MANIFEST, lambda c: c.replace(b'"dirty": ', b'"dirty":  ')),
            "not as tslc wrote it: it was changed after it was written",
        ),
        (lambda shop: change(shop, MANIFEST, lambda c: c[:100]), "invalid json"),
        (
            lambda shop: change(shop, MANIFEST, lambda c: c.replace(b'"schema"', b'"shcema"')),
            "write 'schema'",
        ),
    ],
)
def test_what_was_changed_in_the_store_is_refused_with_its_own_message(
    shop: Shop, archive: Path, node: Node, spoil: Callable[[Shop], None], says: str
):
    shop.ok("push", archive)
    spoil(shop)
    for words in (("pull", *TINY, "out"), ("verify", *TINY), ("register", *TINY)):
        refused = shop.on(node)(*words)
        assert refused.code == 3, refused
        assert says in refused.err
    assert not (shop.root / "out").exists()


def change(shop: Shop, key: str, how: Callable[[bytes], bytes]) -> None:
    before = shop.read(key)
    after = how(before)
    if b'"dirty": ' not in before and before == after:
        after = before.replace(b'"git": null', b'"git":  null')
    assert after != before
    shop.overwrite(key, after)


def remove(shop: Shop, key: str) -> None:
    shop.store().delete([key])


def test_a_version_moved_under_another_name_is_refused(shop: Shop, archive: Path):
    shop.ok("push", archive)
    shop.overwrite("models/tiny/2.0.0/manifest.json", shop.read(MANIFEST))
    refused = shop("pull", "tiny", "2.0.0")
    assert refused.code == 3
    assert "is the manifest of tiny 1.0.0" in refused.err


def test_repair_mends_a_damaged_blob(shop: Shop, archive: Path):
    shop.ok("push", archive)
    change(shop, blob_of(shop, SHARD), flip)
    assert shop.ok("push", archive)["outcome"] == "exists"
    assert shop.ok("push", archive, "--repair")["outcome"] == "pushed"
    assert shop("verify", "tiny", "1.0.0").code == 0


def test_a_spoilt_cache_is_not_believed(shop: Shop, archive: Path):
    shop.ok("push", archive)
    folder = Path(shop.ok("pull", "tiny", "1.0.0", "out")["folder"])
    whole = tree(folder)
    shard = shop.cache / "sha256" / Path(blob_of(shop, SHARD)).name
    shard.chmod(0o644)
    with shard.open("r+b") as file:
        file.seek(12345)
        file.write(b"other")
    pulled = shop.ok("pull", "tiny", "1.0.0", "out")
    assert pulled["outcome"] == "pulled"
    assert pulled["fetched_bytes"] == len(WEIGHTS[Path(SHARD).name])
    assert tree(folder) == whole


def test_pulling_again_leaves_a_whole_folder_as_it_is(shop: Shop, archive: Path):
    shop.ok("push", archive)
    first = shop.ok("pull", "tiny", "1.0.0", "out")
    inode = Path(first["folder"]).stat().st_ino
    again = shop.ok("pull", "tiny", "1.0.0", "out")
    assert (again["outcome"], again["fetched_bytes"]) == ("unchanged", 0)
    assert Path(first["folder"]).stat().st_ino == inode


def test_dry_runs_change_nothing(shop: Shop, archive: Path):
    assert shop.ok("push", archive, "--dry-run")["outcome"] == "would push"
    assert shop.objects() == {}
    shop.ok("push", archive)
    would = shop.ok("pull", "tiny", "1.0.0", "out", "--dry-run")
    assert would["outcome"] == "would pull"
    assert not (shop.root / "out").exists()


def test_a_version_that_is_not_there_is_named_with_the_nearest_one(shop: Shop, archive: Path):
    shop.ok("push", archive)
    for words, near in ((("tiny", "1.0.1"), "1.0.0"), (("tinny", "1.0.0"), "tiny")):
        missing = shop("pull", *words)
        assert missing.code == 2
        assert f"nearest: {near}" in missing.err


def test_list_shows_every_version_and_marks_a_broken_one(
    shop: Shop, archive: Path, next_archive: Path
):
    assert shop.ok("list") == []
    shop.ok("push", archive)
    shop.ok("push", next_archive)
    change(shop, MANIFEST, lambda content: content.replace(b'"tiny"', b'"tini"'))
    rows = shop.ok("list", "tiny")
    assert [(row["version"], "problem" in row) for row in rows] == [
        ("1.0.0", True),
        ("1.1.0", False),
    ]


def test_diff_tells_what_changed_and_what_did_not(shop: Shop, archive: Path, next_archive: Path):
    shop.ok("push", archive)
    shop.ok("push", next_archive)
    parts = {part["part"]: part for part in shop.ok("diff", "tiny", "1.0.0", "1.1.0")}
    assert [name for name, part in parts.items() if part["changed"]] == ["model config"]
    changes = {one["what"]: one["after"] for one in parts["model config"]["changes"]}
    assert changes == {"handler.environment": None, "handler.environment.A": '"b"'}
    assert parts["weights"]["same"] == 3


def in_days(days: int) -> Callable[[], datetime]:
    return lambda: datetime.now(UTC) + timedelta(days=days)


def test_gc_takes_only_what_nothing_names_and_what_is_old(
    shop: Shop, archive: Path, next_archive: Path
):
    shop.ok("push", archive)
    needed = set(shop.objects())
    orphans = [f"blobs/sha256/{letter * 64}" for letter in "ab"]
    for key in orphans:
        shop.overwrite(key, b"left behind")
    shop.overwrite("environments/production/state.json", b'{"x": ["sha256:' + b"b" * 64 + b'"]}')
    shop.overwrite("blobs/sha256/not-ours", b"not ours")
    young = shop.ok("gc", "--delete")
    assert (young["blobs"], young["kept_young"]) == ([], 1)
    grace = timedelta(days=7)
    dry = collect(shop.store(), grace, delete=False, clock=in_days(8))
    assert [blob.sha256 for blob in dry.plan.go] == ["a" * 64]
    assert set(orphans) <= set(shop.objects())
    collect(shop.store(), grace, delete=True, clock=in_days(8))
    left = set(shop.objects())
    assert left == {
        *needed,
        orphans[1],
        "environments/production/state.json",
        "blobs/sha256/not-ours",
    }
    assert shop("verify", "tiny", "1.0.0").code == 0


@pytest.mark.parametrize(
    ("key", "content"),
    [
        ("environments/production/state.json", b"{not json"),
        ("environments/production/state.json", b'{"a": {"model": "tiny", "version": "9"}}'),
        ("models/tiny/2.0.0/manifest.json", b"{}"),
    ],
)
def test_gc_deletes_nothing_when_it_can_not_know_what_is_needed(
    shop: Shop, key: str, content: bytes
):
    shop.overwrite(f"blobs/sha256/{'a' * 64}", b"left behind")
    shop.overwrite(key, content)
    with pytest.raises(Refused):
        collect(shop.store(), timedelta(days=7), delete=True, clock=in_days(8))
    assert f"blobs/sha256/{'a' * 64}" in shop.objects()


def test_gc_ends_uploads_that_were_never_finished(shop: Shop):
    key = f"{shop.prefix}/blobs/sha256/{'c' * 64}"
    client = shop.server.client()
    client.create_multipart_upload(Bucket=shop.bucket, Key=key)
    assert collect(shop.store(), timedelta(days=7), delete=True).uploads == 0
    assert collect(shop.store(), timedelta(days=7), delete=True, clock=in_days(8)).uploads == 1
    assert not client.list_multipart_uploads(Bucket=shop.bucket).get("Uploads")


def test_a_pull_replaces_nothing_that_is_not_its_own(shop: Shop, archive: Path):
    shop.ok("push", archive)
    folder = Path(shop.ok("pull", *TINY, "out")["folder"])
    (folder / "notes.txt").write_text("mine")
    refused = shop("pull", *TINY, "out")
    assert (refused.code, "notes.txt" in refused.err) == (3, True)
    (folder / "notes.txt").unlink()
    (folder / "archive" / "model-config.yaml").unlink()
    shop.ok("pull", *TINY, "out")
    assert (folder / "archive" / "model-config.yaml").exists()
    built = shop.root / "other" / "tiny-1.0.0"
    built.mkdir(parents=True)
    (built / "mine").write_text("mine")
    refused = shop("pull", *TINY, "other")
    assert (refused.code, "no pull of this version made it" in refused.err) == (3, True)
    assert (built / "mine").exists()


def test_weights_of_another_model_are_known_however_old_they_are(
    shop: Shop, archive: Path, archives, monkeypatch
):
    """An hour after a push, its blobs are reused because a manifest names them, whosever it is."""
    shop.ok("push", archive)
    other = archives.build("cousin", "1.0.0", weights=WEIGHTS)
    store = shop.store()
    source = archive_source(other, None, {})
    later = datetime.now(UTC) + timedelta(hours=3)
    monkeypatch.setattr("tslc.verbs.push.now", lambda: later)
    assert push(store, source, dry_run=True).sent_bytes < 200_000
