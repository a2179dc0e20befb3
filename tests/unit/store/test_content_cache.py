from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tslc.adapters.content_cache import ContentCache
from tslc.adapters.partial_content import SEGMENT, PartialContent
from tslc.errors import TslcError

KIB = 1024


def put(cache: ContentCache, content: bytes, used: float | None = None) -> str:
    sha256 = hashlib.sha256(content).hexdigest()
    with cache.partial(sha256, len(content)) as part:
        part.write(0, content)
        cache.place(part, sha256)
    if used is not None:
        os.utime(cache.path(sha256), (used, used))
    return sha256


@pytest.fixture
def cache(tmp_path: Path) -> ContentCache:
    return ContentCache(tmp_path / "cache", 3 * KIB)


def test_the_least_recently_used_contents_go_first(cache: ContentCache):
    digests = [put(cache, bytes([n]) * KIB, used=1000 + n) for n in range(5)]
    assert cache.find(digests[0], KIB)
    assert cache.evict() == 2 * KIB
    assert set(cache.sizes(digests)) == {digests[0], digests[3], digests[4]}


def test_what_a_living_process_leases_is_never_evicted(cache: ContentCache):
    digests = [put(cache, bytes([n]) * KIB, used=1000 + n) for n in range(5)]
    other = ContentCache(cache.folder, 1)
    with cache.lease(digests[:2]):
        other.evict()
        assert set(other.sizes(digests)) == set(digests[:2])
    other.evict()
    assert other.sizes(digests) == {}


def test_the_lease_of_a_killed_process_does_not_last(cache: ContentCache):
    sha256 = put(cache, b"x" * KIB)
    script = f"""
import os, signal
from pathlib import Path
from tslc.adapters.content_cache import ContentCache
with ContentCache(Path({str(cache.folder)!r}), 1).lease([{sha256!r}]):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == -9
    assert len(list((cache.folder / "leases").iterdir())) == 1
    assert ContentCache(cache.folder, 1).evict() == KIB
    assert not any((cache.folder / "leases").iterdir())


def test_what_a_version_links_to_is_not_evicted_as_that_would_free_nothing(
    cache: ContentCache, tmp_path: Path
):
    sha256 = put(cache, b"x" * 9 * KIB)
    cache.link(sha256, tmp_path / "version" / "file")
    assert cache.evict() == 0
    (tmp_path / "version" / "file").unlink()
    assert cache.evict() == 9 * KIB


def test_a_spoilt_content_is_removed_rather_than_used(cache: ContentCache):
    sha256 = put(cache, b"x" * KIB)
    path = cache.path(sha256)
    assert path.stat().st_mode & 0o777 == 0o444
    path.chmod(0o644)
    path.write_bytes(b"y" * KIB)
    assert cache.find(sha256, KIB) is None
    assert not path.exists()


def test_a_fetch_goes_on_where_it_was(tmp_path: Path):
    size = 2 * SEGMENT + 5
    with PartialContent(tmp_path / "part", size) as part:
        assert part.missing() == (0, 1, 2)
        part.write(SEGMENT, b"a" * SEGMENT)
        part.note(1)
    (tmp_path / "part.done").write_bytes((tmp_path / "part.done").read_bytes() + b"2")
    with PartialContent(tmp_path / "part", size) as part:
        # A note that has no end was being written when its process died.
        assert part.missing() == (0, 2)
        assert part.span(2) == (2 * SEGMENT, size)
        part.empty()
        assert part.missing() == (0, 1, 2)
    with PartialContent(tmp_path / "part", size + 1) as part:
        assert part.missing() == (0, 1, 2)


def test_a_cache_that_can_not_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TslcError, match="file"):
        ContentCache(tmp_path / "file" / "cache", 1)


def test_a_fetch_that_was_cut_short_has_its_room_already(cache: ContentCache):
    with cache.partial("a" * 64, 2 * KIB):
        pass
    assert cache.reserved({"a" * 64: 2 * KIB, "b" * 64: KIB}) == 2 * KIB
    assert cache.reserved({"a" * 64: 3 * KIB}) == 0


def test_evictions_and_fetches_at_once_are_no_trouble(cache: ContentCache):
    """Between seeing what was begun and looking at it, another process may be done with it."""
    ended = threading.Event()

    def fetch(number: int) -> None:
        count = 0
        while not ended.is_set():
            count += 1
            put(cache, f"{number} {count}".encode())

    with ThreadPoolExecutor(3) as pool:
        work = [pool.submit(fetch, number) for number in range(2)]
        try:
            for _ in range(60):
                cache.evict()
        finally:
            ended.set()
        for one in work:
            one.result()
