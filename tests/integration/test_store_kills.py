"""`kill -9` at random moments: nothing half-done is ever seen, and the repeat goes on.

`TSLC_KILLS` is how many moments of a push, and of a pull, are tried.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from store_shop import Shop, spoilt, tree, weights
from tslc.verbs.store_access import find_manifest
from tslc.verbs.versions import verify

pytestmark = [pytest.mark.integration, pytest.mark.timeout(3000)]
KILLS = int(os.environ.get("TSLC_KILLS", "4"))
MODEL = ("tiny", "1.0.0")


@pytest.fixture(scope="session")
def archive(archives) -> Path:
    return archives.build(*MODEL, weights=weights(64))


def killed(shop: Shop, moment: float, *words: object) -> bool:
    """Whether the kill came before the end."""
    process = shop.start(*words)
    time.sleep(moment)
    process.kill()
    process.communicate()
    return process.returncode != 0


def moments(seconds: float) -> list[float]:
    """From when Python has come up to a little behind the end."""
    noise = random.Random(len(__name__))
    return [noise.uniform(0.3 * seconds, 1.05 * seconds) for _ in range(KILLS)]


def timed(shop: Shop, *words: object) -> float:
    began = time.monotonic()
    shop.ok(*words)
    return time.monotonic() - began


def seen_whole(shop: Shop) -> bool:
    """Whether the version is there; if so, every byte is right."""
    store = shop.store()
    if find_manifest(store, *MODEL) is None:
        return False
    verify(store, *MODEL, check=lambda manifest, signature: "")
    return True


def test_a_push_that_is_killed_leaves_nothing_to_be_seen(shop: Shop, archive: Path):
    seconds = timed(replace(shop, prefix="measured"), "push", archive)
    cut = reused = seen = 0
    for number, moment in enumerate(moments(seconds)):
        here = replace(shop, prefix=f"round-{number}")
        cut += killed(here, moment, "push", archive)
        there = [key for key in here.objects() if key.startswith("blobs/")]
        was_seen = seen_whole(here)
        again = here.ok("push", archive)
        if was_seen:
            seen += 1
            assert again["outcome"] == "exists"
        else:
            assert again["outcome"] == "pushed"
            assert again["reused_blobs"] == len(there)
            reused += again["reused_bytes"]
        assert seen_whole(here)
        clear(here)
        print(f"push {number}: killed after {moment:.2f} s, {again['reused_blobs']} blobs reused")
    print(f"{KILLS} kills, {cut} before the end, {seen} after; {reused} bytes used again")
    assert cut


def clear(shop: Shop) -> None:
    store = shop.store()
    store.delete(shop.objects())
    for key, upload, _ in store.unfinished_uploads(""):
        store.abort_upload(key, upload)


def test_a_pull_that_is_killed_serves_no_wrong_byte(shop: Shop, archive: Path):
    shop.ok("push", archive)
    whole = tree(Path(shop.ok("pull", *MODEL, "whole")["folder"]))
    total = sum(shop.store().stat(key).size for key in shop.objects() if "blobs/" in key)
    shutil.rmtree(shop.cache)
    seconds = timed(shop, "pull", *MODEL, "measured")
    cut = resumed = 0
    for number, moment in enumerate(moments(seconds)):
        shutil.rmtree(shop.cache)
        out = shop.root / f"out-{number}"
        cut += killed(shop, moment, "pull", *MODEL, out)
        placed = out / "-".join(MODEL)
        if placed.exists():
            assert tree(placed) == whole
        assert spoilt(shop.cache) == []
        again = shop.ok("pull", *MODEL, out)
        assert tree(placed) == whole
        reused = again["resumed_bytes"] + again["cached_bytes"]
        assert again["fetched_bytes"] + reused == total
        resumed += reused
        assert [path for path in out.iterdir() if not path.name.startswith(".")] == [placed]
        assert not any((shop.cache / "leases").iterdir())
        shutil.rmtree(out)
        print(f"pull {number}: killed after {moment:.2f} s, {reused} bytes reused")
    print(f"{KILLS} kills, {cut} before the end; {resumed} of {KILLS * total} bytes used again")
    assert cut
