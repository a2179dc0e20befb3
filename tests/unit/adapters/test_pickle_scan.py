"""Pickles are found whatever they are packed in, and looking for them is bounded."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import random
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tslc.adapters.pickle_scan import scan
from tslc.domain.pickles import Room, Scanned, allowed_pickles
from tslc.errors import Refused
from tslc.verbs.push_foreign import foreign_source

MANIFEST = b'{"model": {"modelName": "old", "handler": "h.py"}}'


class Evil:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("true",)


HARMLESS = pickle.dumps({"weights": [1.0, 2.0]})
HARMFUL = pickle.dumps(Evil(), protocol=2)


def zipped(*files: tuple[str, bytes], comment: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files:
            file.writestr(name, content)
        file.comment = comment
    return buffer.getvalue()


def tarred(*files: tuple[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size, info.type = len(content), kind
            file.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


ZIP = zipped(("readme.txt", b"nothing"))
PLACES: dict[str, Callable[[bytes], bytes]] = {
    "alone": lambda content: content,
    "before a zip": lambda content: content + ZIP,
    "after a zip": lambda content: ZIP + content,
    "in a zip's comment": lambda content: zipped(("a", b""), comment=content),
    "in a zip": lambda content: zipped(("readme.txt", b"nothing"), ("a.txt", content)),
    "in a tar": lambda content: tarred(("config.yaml", b"a: 1"), ("a.ckpt", content)),
    "in a tar, as an unknown kind": lambda content: tarred(("a.ckpt", content), kind=b"Q"),
    "in a second tar": lambda content: tarred(("a", b"")) + tarred(("b", content)),
    "in gzip": gzip.compress,
    "in the second part of gzip": lambda content: gzip.compress(b"") + gzip.compress(content),
    "in bzip2": bz2.compress,
    "in xz": lzma.compress,
    "in lzma": lambda content: lzma.compress(content, lzma.FORMAT_ALONE),
    "in zlib": zlib.compress,
    "in gzip cut short": lambda content: gzip.compress(content)[:-4],
}


def found(folder: Path, content: bytes, path: str, room: Room | None = None) -> list[Scanned]:
    file = folder / "member"
    file.write_bytes(content)
    return list(scan(file, path, room))


@pytest.mark.parametrize("name", ["w.pkl", "w.dat", "w.model", "w.pt", "w.gz", "a.txt"])
@pytest.mark.parametrize("place", PLACES)
def test_a_harmful_pickle_is_found_wherever_it_is(tmp_path: Path, place: str, name: str) -> None:
    scanned = found(tmp_path, PLACES[place](HARMFUL), name)
    assert any("system" in one.harmful[0] for one in scanned if one.harmful)
    with pytest.raises(Refused, match="runs harmful code"):
        allowed_pickles("old.mar", scanned, allow=True)


@pytest.mark.parametrize("place", PLACES)
def test_a_harmless_pickle_is_asked_about_wherever_it_is(tmp_path: Path, place: str) -> None:
    with pytest.raises(Refused) as refused:
        allowed_pickles("old.mar", found(tmp_path, PLACES[place](HARMLESS), "w.dat"), allow=False)
    assert refused.value.exit_code == 3


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(sorted(PLACES)), max_size=4),
    st.sampled_from(["w.pkl", "w.pkl.gz", "w", "w.bin", "w.zip", "w.npy"]),
)
def test_a_harmful_pickle_is_refused_wherever_that_is_put_again(
    tmp_path: Path, places: list[str], name: str
) -> None:
    content = HARMFUL
    for place in places:
        content = PLACES[place](content)
    with pytest.raises(Refused):
        allowed_pickles("old.mar", found(tmp_path, content, name), allow=True)


MAGICS = [PLACES[place](HARMLESS)[:size] for place in sorted(PLACES) for size in (3, 12, 600)]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([b"", b"\x93NUMPY\x01\x00", b"\x04\x22\x4d\x18", *MAGICS]),
    st.binary(),
    st.sampled_from(["w.pkl", "w.gz", "w.txt", "w.bin", "w.npy", "w.tar"]),
)
def test_no_bytes_make_the_scan_raise(tmp_path: Path, begin: bytes, rest: bytes, name: str) -> None:
    assert found(tmp_path, begin + rest, name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("vocab.json.gz", gzip.compress(b'{"a": 1}')),
        ("merges.txt.gz", gzip.compress(b"a b\nc d\n")),
        ("empty.gz", gzip.compress(b"") + bytes(100)),
        ("merges.txt.bz2", bz2.compress(b"a b\nc d\n")),
        ("x.json.xz", lzma.compress(b"{}")),
        ("tokenizer.tar.gz", gzip.compress(tarred(("t.json", b"{}"), ("merges.txt", b"a b")))),
        ("tokenizer.zip", zipped(("t.json", b"{}"), comment=b"made by hand")),
        ("formula.txt", b"x^2 + y^2 = z^2\nx^3"),
        ("model.safetensors", (0x5D).to_bytes(8, "little") + b"{".ljust(0x5D)),
        ("program.pyz", b"#!/usr/bin/env python3\n" + zipped(("__main__.py", b"x = 1"))),
        ("random.dat", random.Random(1).randbytes(100_000)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_holds_no_pickle_is_not_asked_about(tmp_path: Path, name: str, content: bytes) -> None:
    assert allowed_pickles("old.mar", found(tmp_path, content, name), allow=False) == ()


def test_a_packed_pickle_may_go_in_when_it_is_allowed(tmp_path: Path) -> None:
    for content in (gzip.compress(HARMLESS), zlib.compress(HARMLESS)):
        scanned = found(tmp_path, content, "a/w.pkl.gz")
        pickles = allowed_pickles("old.mar", scanned, allow=True)
        assert pickles == ("a/w.pkl.gz", "a/w.pkl.gz/w.pkl")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("w.dat", b"\x04\x22\x4d\x18 lz4"),
        ("w.dat", b"\x28\xb5\x2f\xfd zstd"),
        ("w.dat", b"7z\xbc\xaf\x27\x1c"),
        ("w.dat", gzip.compress(b"text")[:-3]),
        ("w.dat", gzip.compress(b"text") + b"more"),
        ("w.pkl.gz", b"neither packed nor a pickle"),
        ("w.pkl.gz", gzip.compress(b"no pickle")),
        ("w.joblib", zlib.compress(HARMLESS)[:-2]),
        ("w.dat", zipped(("a.pkl", HARMLESS)) + ZIP),
        ("w.tar", tarred(("a", bytes(2000)))[:1000]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_can_not_be_opened_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    with pytest.raises(Refused, match="can't be checked") as refused:
        allowed_pickles("old.mar", found(tmp_path, content, name), allow=True)
    assert refused.value.exit_code == 3


MEBIBYTE = 1024 * 1024
ZEROS = bytes(4 * MEBIBYTE)


@pytest.mark.parametrize(
    "content",
    [
        zipped(*((f"{count}.zip", zipped(("zeros", ZEROS))) for count in range(5))),
        zipped(*((f"{count}.gz", gzip.compress(ZEROS)) for count in range(5))),
        tarred(*((f"{count}.xz", lzma.compress(ZEROS)) for count in range(5))),
        bz2.compress(ZEROS) * 5,
        zlib.compress(ZEROS * 5),
    ],
    ids=["zips", "gzip in a zip", "xz in a tar", "bzip2", "zlib"],
)
def test_all_that_is_packed_in_a_file_shares_one_room(tmp_path: Path, content: bytes) -> None:
    assert len(content) < MEBIBYTE
    room = Room(bytes_left=18 * MEBIBYTE)
    (*_, last) = found(tmp_path, content, "a.bomb", room)
    assert "grows to over" in str(last.error)
    (again, *_) = found(tmp_path, ZIP, "b.zip", room)[1:]
    assert "grows to over" in str(again.error)
    enough = Room(bytes_left=42 * MEBIBYTE)
    assert all(one.error is None for one in found(tmp_path, content, "a.bomb", enough))


def test_files_in_files_share_one_room(tmp_path: Path) -> None:
    inner = zipped(*((f"{count}", b"") for count in range(10)))
    content = zipped(*((f"{count}.zip", inner) for count in range(10)))
    assert found(tmp_path, content, "a.zip", Room(MEBIBYTE, files_left=110))[-1].error is None
    (*_, last) = found(tmp_path, content, "a.zip", Room(MEBIBYTE, files_left=109))
    assert "more than" in str(last.error)


def test_a_pickle_of_too_many_steps_is_not_read_to_its_end(tmp_path: Path) -> None:
    for content in (b"N" * 1000 + b".", b"N." * 500, gzip.compress(b"\x80\x02" + b"N0" * 500)):
        (*_, last) = found(tmp_path, content, "a.dat", Room(MEBIBYTE, steps_left=900))
        assert "steps" in str(last.error)


def mar(folder: Path, files: dict[str, bytes]) -> Path:
    path = folder / "old.mar"
    path.write_bytes(zipped(("MAR-INF/MANIFEST.json", MANIFEST), *files.items()))
    return path


def test_the_zips_of_an_archive_share_its_room(tmp_path: Path) -> None:
    inner = zipped(("zeros", bytes(280 * MEBIBYTE)))
    path = mar(tmp_path, {f"{count}.zip": inner for count in range(4)})
    assert path.stat().st_size < 2 * MEBIBYTE
    with pytest.raises(Refused, match="can't be checked for pickles: the archive grows"):
        foreign_source(path, "old", "1.0", {}, allow_pickle=True)


def test_the_files_in_an_archives_zips_are_counted_together(tmp_path: Path) -> None:
    inner = zipped(*((str(count), b"") for count in range(5000)))
    path = mar(tmp_path, {f"{count}.zip": inner for count in range(5)})
    with pytest.raises(Refused, match="can't be checked for pickles: more than 20000 files"):
        foreign_source(path, "old", "1.0", {}, allow_pickle=True)
