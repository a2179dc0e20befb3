"""`kill -9` at chosen moments: nothing half-done is ever seen, and the repeat goes on.

A proxy before the real S3 counts the bytes of contents and kills when just so many have passed.
`TSLC_KILLS` is how many such positions of a push, and of a pull, are tried, chosen by chance;
the moments between the steps are tried always.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from faulty_proxy import FaultyProxy, Moment, Request
from store_shop import Shop, spoilt, tree, weights
from tslc.verbs.store_access import find_manifest
from tslc.verbs.versions import verify

pytestmark = [pytest.mark.integration, pytest.mark.timeout(3000)]
KILLS = int(os.environ.get("TSLC_KILLS", "2"))
MODEL = ("tiny", "1.0.0")
HEAD = (2).to_bytes(8, "little") + b"{}"


@pytest.fixture(scope="session")
def archive(archives) -> Path:
    noise = random.Random(1)
    small = {f"more-{n}.safetensors": HEAD + noise.randbytes(2 << 20) for n in range(8)}
    return archives.build(*MODEL, weights={**weights(20), **small})


@dataclass(frozen=True)
class Kill:
    name: str
    at: Callable[[Callable[[], None]], Moment]


def positions(total: int) -> list[Kill]:
    """Bytes that pass before the kill: never all."""
    noise = random.Random(len(__name__))
    some = sorted(noise.randrange(1, total) for _ in range(KILLS))
    return [Kill(f"at byte {at}", partial(Moment, at=at)) for at in some]


def moves(request: Request) -> bool:
    return request.of_blob


def makes(request: Request) -> bool:
    return request.method == "PUT" and request.path.endswith("manifest.json")


FIRST = Kill("before the first byte", partial(Moment, match=moves))
BEFORE_MANIFEST = Kill("before the manifest", partial(Moment, match=makes))
AFTER_MANIFEST = Kill("after the manifest", partial(Moment, match=makes, answered=True))


def through(shop: Shop, proxy: FaultyProxy) -> Shop:
    return replace(shop, server=replace(shop.server, endpoint_url=proxy.url))


def run_killed(shop: Shop, kill: Kill, *words: object) -> None:
    victim: Future[subprocess.Popen[str]] = Future()

    def strike() -> None:
        process = victim.result()
        process.kill()
        process.wait()

    with FaultyProxy(shop.server.endpoint_url) as proxy:
        proxy.moment = kill.at(strike)
        process = through(shop, proxy).start(*words)
        victim.set_result(process)
        out, err = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, (kill, out, err)


def run_counted(shop: Shop, *words: object) -> tuple[dict[str, int], int]:
    """What a command says, and how many bytes of contents it moved."""
    with FaultyProxy(shop.server.endpoint_url) as proxy:
        return through(shop, proxy).ok(*words), proxy.passed


def seen_whole(shop: Shop) -> bool:
    """Whether the version is there; if so, every byte is right."""
    store = shop.store()
    if find_manifest(store, *MODEL) is None:
        return False
    verify(store, *MODEL, check=lambda manifest, signature: "")
    return True


def test_a_push_that_is_killed_leaves_nothing_to_be_seen(shop: Shop, archive: Path):
    told, total = run_counted(replace(shop, prefix="whole"), "push", archive)
    assert told["sent_bytes"] == total
    kills = [FIRST, *positions(total), BEFORE_MANIFEST, AFTER_MANIFEST]
    all_reused = 0
    for number, kill in enumerate(kills):
        here = replace(shop, prefix=f"round-{number}")
        run_killed(here, kill, "push", archive)
        there = [size for key, size in here.objects().items() if key.startswith("blobs/")]
        is_late = kill is AFTER_MANIFEST
        assert seen_whole(here) == is_late
        again, sent = run_counted(here, "push", archive)
        assert again["outcome"] == ("exists" if is_late else "pushed")
        reused = total if is_late else again["reused_bytes"]
        assert sent == again["sent_bytes"] == total - reused
        assert reused >= sum(there)
        if kill is BEFORE_MANIFEST:
            assert sent == 0
        assert seen_whole(here)
        clear(here)
        all_reused += reused
        print(f"push killed {kill.name} of {total}: {reused} bytes used again")
    print(f"{len(kills)} kills; {all_reused} of {len(kills) * total} bytes used again")


def clear(shop: Shop) -> None:
    store = shop.store()
    store.delete(shop.objects())
    for key, upload, _ in store.unfinished_uploads(""):
        store.abort_upload(key, upload)


def test_a_pull_that_is_killed_serves_no_wrong_byte(shop: Shop, archive: Path):
    shop.ok("push", archive)
    told, total = run_counted(shop, "pull", *MODEL, "whole")
    assert told["fetched_bytes"] == total
    whole = tree(Path(told["folder"]))
    all_reused = 0
    kills = [FIRST, *positions(total), Kill("at the last byte", partial(Moment, at=total))]
    for number, kill in enumerate(kills):
        shutil.rmtree(shop.cache)
        out = shop.root / f"out-{number}"
        placed = out / "-".join(MODEL)
        run_killed(shop, kill, "pull", *MODEL, out)
        assert not placed.exists()
        assert spoilt(shop.cache) == []
        again, fetched = run_counted(shop, "pull", *MODEL, out)
        assert tree(placed) == whole
        reused = again["resumed_bytes"] + again["cached_bytes"]
        assert fetched == again["fetched_bytes"] == total - reused
        assert [path for path in out.iterdir() if not path.name.startswith(".")] == [placed]
        assert not any((shop.cache / "leases").iterdir())
        shutil.rmtree(out)
        all_reused += reused
        print(f"pull killed {kill.name} of {total}: {reused} bytes used again")
    print(f"{len(kills)} kills; {all_reused} of {len(kills) * total} bytes used again")
