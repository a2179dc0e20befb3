"""Digests of files, and the cache that may never give a wrong one."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from tslc.adapters.digest_cache import SMALLEST, DigestCache, cache_folder
from tslc.adapters.hashing import hash_files
from tslc.errors import TslcError

LONG_AGO = 1_000_000_000


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "big"
    path.write_bytes(b"x" * SMALLEST)
    return path


def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file counts as changed too recently."""
    monkeypatch.setattr("tslc.adapters.digest_cache.SETTLED_SECONDS", -1.0)


def test_entries_are_the_sizes_and_digests_of_the_files(tmp_path):
    files = {}
    for number in range(20):
        files[str(number)] = tmp_path / str(number)
        files[str(number)].write_bytes(bytes([number]) * number * 1000)
    entries = hash_files(files)
    assert list(entries) == list(files)
    for name, path in files.items():
        assert entries[name].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert entries[name].size == path.stat().st_size


def test_progress_counts_up_to_the_size_of_all_files(tmp_path, big):
    seen: list[tuple[int, int]] = []
    hash_files({"a": big, "b": big}, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (2 * SMALLEST, 2 * SMALLEST)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_known_file_is_not_read_again(tmp_path, big, monkeypatch):
    settled(monkeypatch)
    cache = DigestCache(tmp_path / "cache")
    cache.put(big, big.stat(), "f" * 64)
    assert hash_files({"big": big}, cache=cache)["big"].sha256 == "f" * 64


def test_a_changed_file_is_read_again_even_when_its_size_and_time_are_the_same(
    tmp_path, big, monkeypatch
):
    settled(monkeypatch)
    cache = DigestCache(tmp_path / "cache")
    os.utime(big, (LONG_AGO, LONG_AGO))
    before = hash_files({"big": big}, cache=cache)
    with big.open("r+b") as file:
        file.write(b"y")
    os.utime(big, (LONG_AGO, LONG_AGO))
    assert hash_files({"big": big}, cache=cache) != before


def test_a_file_that_changed_just_now_is_not_remembered(tmp_path, big):
    cache = DigestCache(tmp_path / "cache")
    hash_files({"big": big}, cache=cache)
    assert cache.get(big, big.stat()) is None


@pytest.mark.parametrize("content", [b"", b"[]", b'{"sha256": 5}', b"\xff"])
def test_a_broken_cache_costs_time_only(tmp_path, big, monkeypatch, content):
    settled(monkeypatch)
    cache = DigestCache(tmp_path / "cache")
    right = hash_files({"big": big}, cache=cache)
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(content)
    assert hash_files({"big": big}, cache=cache) == right
    assert hash_files({"big": big}, cache=DigestCache(big / "not a folder")) == right


def test_a_file_that_can_not_be_read_is_named(tmp_path):
    with pytest.raises(TslcError, match="missing"):
        hash_files({"a": tmp_path / "missing"})


def test_the_cache_follows_xdg_cache_home():
    assert cache_folder({"XDG_CACHE_HOME": "/c"}) == Path("/c/tslc/digests")
    assert cache_folder({}) == Path.home() / ".cache/tslc/digests"
