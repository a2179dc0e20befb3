"""Archives that others built: opened safely, and searched for pickles under any name."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tslc.adapters.foreign_mar import unpacked_files
from tslc.domain.store_manifest import StoreManifest
from tslc.errors import BadInput, Refused
from tslc.verbs.push_foreign import foreign_source

MANIFEST = json.dumps({"model": {"modelName": "old", "handler": "h.py"}})
PLAIN = {"MAR-INF/MANIFEST.json": MANIFEST.encode(), "h.py": b"class H: pass\n"}


class Evil:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("true",)


HARMLESS = pickle.dumps({"weights": [1.0, 2.0]})
HARMFUL = pickle.dumps(Evil())


def torch_zip(content: bytes) -> bytes:
    """As torch.save writes it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("archive/data.pkl", content)
        file.writestr("archive/version", "3\n")
        file.writestr("archive/data/0", bytes(100))
    return buffer.getvalue()


def zipped(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(name, content)
    return buffer.getvalue()


def mar(folder: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    path = folder / "old.mar"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in {**PLAIN, **files}.items():
            archive.writestr(name, content)
    return path


def source(path: Path, allow: bool = False) -> StoreManifest:
    return foreign_source(path, "old", "1.0", {}, allow_pickle=allow).manifest


def test_an_archive_without_pickles_goes_in_as_it_is(tmp_path: Path) -> None:
    files = {
        "model.safetensors": bytes(8) + b"{}",
        # The length of its header begins as a pickle does.
        "other.safetensors": (0x0480).to_bytes(8, "little") + b"{".ljust(0x0480) + b"}",
        "vocab.txt": b"a\nb\n",
        "x.json": b"{}",
        "code.zip": zipped("a.py", b"x = 1"),
    }
    path = mar(tmp_path, files)
    manifest = source(path)
    (entry,) = manifest.files.values()
    assert entry.size == path.stat().st_size
    assert manifest.pickle is None
    assert StoreManifest.parse(manifest.render()) == manifest


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("weights.pkl", HARMLESS),
        ("model.safetensors", HARMLESS),
        ("model.txt", pickle.dumps({"a": 1}, protocol=2)),
        ("pytorch_model.bin", torch_zip(HARMLESS)),
        ("deep/model.pt", torch_zip(HARMLESS)),
    ],
)
def test_a_pickle_under_any_name_has_to_be_allowed_and_is_recorded(
    tmp_path: Path, name: str, content: bytes
) -> None:
    path = mar(tmp_path, {name: content})
    with pytest.raises(Refused, match="holds pickles") as caught:
        source(path)
    assert name in caught.value.message
    assert "--allow-pickle" in str(caught.value.hint)
    manifest = source(path, allow=True)
    assert manifest.pickle is not None
    assert name in manifest.pickle.files
    assert all(one.startswith(name) for one in manifest.pickle.files)
    assert manifest.pickle.allowed_by
    assert StoreManifest.parse(manifest.render()) == manifest


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("weights.pkl", HARMFUL),
        ("model.safetensors", HARMFUL),
        ("notes.txt", pickle.dumps(Evil(), protocol=0)),
        ("pytorch_model.bin", torch_zip(HARMFUL)),
        ("model.safetensors", torch_zip(HARMFUL)),
        ("a.zip", torch_zip(HARMFUL)),
        ("a.zip", zipped("b.pt", torch_zip(HARMFUL))),
        ("a.zip", zipped("b.txt", zipped("c.txt", HARMFUL))),
    ],
)
@pytest.mark.parametrize("allow", [False, True])
def test_a_harmful_pickle_is_refused_whatever_was_allowed(
    tmp_path: Path, name: str, content: bytes, allow: bool
) -> None:
    with pytest.raises(Refused, match="runs harmful code"):
        source(mar(tmp_path, {name: content}), allow)


@pytest.mark.parametrize("content", [b"", b"not a pickle at all", HARMLESS[:-4], b"\x80\x04broken"])
def test_what_the_scanner_can_not_read_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(Refused, match="can't be checked"):
        source(mar(tmp_path, {"model.pt": content}), allow=True)


def entry(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


@pytest.mark.parametrize(
    "name", ["../x", "/etc/x", "a/../../x", "a\\..\\x", "C:/../x", "a//b", "a/./b", "a\nb"]
)
def test_a_path_outside_the_archive_is_refused(tmp_path: Path, name: str) -> None:
    path = mar(tmp_path, {})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(entry(name), b"x")
    with pytest.raises(Refused):
        source(path)


def test_a_link_is_refused(tmp_path: Path) -> None:
    path = mar(tmp_path, {})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(entry("link", stat.S_IFLNK | 0o777), b"/etc/passwd")
    with pytest.raises(Refused, match="link"):
        source(path)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    """What its headers say is enough; making 1100 MiB of it would take eight seconds."""
    made, told = 1024 * 1024, 1100 * 1024 * 1024
    path = mar(tmp_path, {"zeros": bytes(made)}, zipfile.ZIP_DEFLATED)
    content = path.read_bytes()
    assert content.count(struct.pack("<L", made)) == 2
    path.write_bytes(content.replace(struct.pack("<L", made), struct.pack("<L", told)))
    with pytest.raises(Refused, match="times its size"):
        source(path)


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    path = mar(tmp_path, {f"f{count}": b"" for count in range(20_001)}, zipfile.ZIP_STORED)
    with pytest.raises(Refused, match="more than"):
        source(path)


def test_what_two_readers_may_see_differently_is_refused(tmp_path: Path) -> None:
    good = mar(tmp_path, {"aaaa.py": b"good"}, zipfile.ZIP_STORED).read_bytes()
    path = tmp_path / "crafted.mar"
    path.write_bytes(good.replace(b"aaaa.py", b"bbbb.py", 1))
    with pytest.raises(Refused, match="called otherwise"):
        source(path)
    path.write_bytes(b"PK\x03\x04 something before" + good)
    with pytest.raises(Refused):
        source(path)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "w") as archive:
        for content in (MANIFEST, MANIFEST):
            archive.writestr("MAR-INF/MANIFEST.json", content)
    with pytest.raises(Refused, match="twice"):
        source(path)


@dataclass(frozen=True)
class Entry:
    """An entry of a crafted zip: what its header states, what follows, what the directory states.

    `header` and `directory`: checksum, packed size, size.
    """

    name: str
    header: tuple[int, int, int]
    body: bytes
    directory: tuple[int, int, int]
    flags: int = 0
    method: int = zipfile.ZIP_DEFLATED

    @classmethod
    def honest(cls, name: str, content: bytes) -> Entry:
        engine = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        packed = engine.compress(content) + engine.flush()
        stated = (zlib.crc32(content), len(packed), len(content))
        return cls(name, stated, packed, stated)

    def described(self, signature: bytes = b"PK\x07\x08") -> Entry:
        """What is stated follows the content."""
        body = self.body + signature + struct.pack("<3L", *self.header)
        return replace(self, header=(0, 0, 0), body=body, flags=8)

    def local(self) -> bytes:
        name = self.name.encode()
        fields = (20, self.flags, self.method, 0, 0x21, *self.header, len(name), 0)
        return struct.pack("<4s5H3L2H", b"PK\x03\x04", *fields) + name + self.body

    def central(self, offset: int) -> bytes:
        name = self.name.encode()
        fields = (0x314, 20, self.flags, self.method, 0, 0x21, *self.directory, len(name))
        rest = (0, 0, 0, 0, 0o100644 << 16, offset)
        return struct.pack("<4s6H3L5H2L", b"PK\x01\x02", *fields, *rest) + name


def crafted(*entries: Entry) -> bytes:
    files = directory = b""
    for one in entries:
        directory += one.central(len(files))
        files += one.local()
    sizes = (len(entries), len(entries), len(directory), len(files))
    return files + directory + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, *sizes, 0)


def seen_from_the_front(content: bytes) -> dict[str, bytes]:
    """The files of a zip as java.util.zip.ZipInputStream finds them; ValueError where it throws."""
    files = {}
    at = 0
    while content[at : at + 4] == b"PK\x03\x04":
        head = struct.unpack_from("<4s5H3L2H", content, at)
        flags, method, stated, (name_size, extra_size) = head[2], head[3], head[6:9], head[9:]
        start = at + 30 + name_size + extra_size
        name = content[at + 30 : at + 30 + name_size].decode()
        if method == zipfile.ZIP_DEFLATED:
            engine = zlib.decompressobj(-zlib.MAX_WBITS)
            unpacked = engine.decompress(content[start:])
            at = len(content) - len(engine.unused_data)
        else:
            unpacked = content[start : start + stated[2]]
            at = start + stated[2]
        true = (zlib.crc32(unpacked), at - start, len(unpacked))
        if flags & 8:
            signed = 4 if content[at : at + 4] == b"PK\x07\x08" else 0
            stated = struct.unpack_from("<3L", content, at + signed)
            at += signed + 12
        if true != stated or (flags & 8 and method == zipfile.ZIP_STORED):
            raise ValueError("ZipException")
        files[name] = unpacked
    return files


MANIFEST_ENTRY = Entry.honest("MAR-INF/MANIFEST.json", MANIFEST.encode())
HIDDEN = Entry.honest("hidden.pkl", HARMFUL).local()


def with_hidden(entry: Entry, *, stated: bool) -> Entry:
    """The directory takes a second entry for the first one's content."""
    crc, _, size = entry.directory
    covering = (crc, len(entry.body) + len(HIDDEN), size)
    header = covering if stated else entry.header
    return replace(entry, body=entry.body + HIDDEN, header=header, directory=covering)


def stored_with_hidden(content: bytes) -> Entry:
    whole = content + HIDDEN
    directory = (zlib.crc32(whole), len(whole), len(whole))
    header = (zlib.crc32(content), len(content), len(content))
    return Entry("notes.txt", header, whole, directory, method=zipfile.ZIP_STORED)


@pytest.mark.parametrize(
    "entry",
    [
        with_hidden(Entry.honest("notes.txt", b"notes"), stated=False),
        with_hidden(Entry.honest("notes.txt", b"notes"), stated=True),
        with_hidden(Entry.honest("notes.txt", b"notes").described(), stated=False),
        with_hidden(Entry.honest("notes.txt", b"notes").described(b""), stated=False),
        stored_with_hidden(b"notes"),
        replace(Entry.honest("notes.txt", b"notes"), header=(0, 7, 5)),
        replace(Entry.honest("notes.txt", b"notes").described(), header=(0, 7, 6)),
        replace(Entry.honest("notes.txt", b"notes"), flags=8),
        Entry("notes.txt", (0, 0, 0), b"", (0, 0, 0), method=zipfile.ZIP_STORED).described(),
    ],
)
def test_a_file_that_only_a_reader_of_headers_sees_is_refused(tmp_path: Path, entry: Entry) -> None:
    path = tmp_path / "crafted.mar"
    path.write_bytes(crafted(MANIFEST_ENTRY, entry))
    with pytest.raises(Refused, match="not safe"):
        source(path)


def test_a_reader_of_headers_does_see_the_hidden_file() -> None:
    for entry in (
        with_hidden(Entry.honest("notes.txt", b"notes"), stated=False),
        with_hidden(Entry.honest("notes.txt", b"notes").described(), stated=False),
        stored_with_hidden(b"notes"),
    ):
        content = crafted(MANIFEST_ENTRY, entry)
        assert seen_from_the_front(content)["hidden.pkl"] == HARMFUL
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            assert "hidden.pkl" not in file.namelist()


class Pipe(io.BytesIO):
    def seekable(self) -> bool:
        return False

    def seek(self, offset: int, whence: int = 0) -> int:
        raise io.UnsupportedOperation


def piped() -> bytes:
    """What a program writes that can't go back to the header."""
    buffer = Pipe()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("MAR-INF/MANIFEST.json", MANIFEST)
    return buffer.getvalue()


def wide() -> bytes:
    """As torch-model-archiver writes files over 2 GiB."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file,
        file.open("MAR-INF/MANIFEST.json", "w", force_zip64=True) as target,
    ):
        target.write(MANIFEST.encode())
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        piped(),
        wide(),
        crafted(MANIFEST_ENTRY, Entry.honest("a.txt", b"a").described(b"")),
        crafted(MANIFEST_ENTRY.described(), Entry.honest("vide.txt", b"")),
        crafted(MANIFEST_ENTRY, Entry("folder/", (0, 0, 0), b"", (0, 0, 0), method=0)),
    ],
)
def test_what_other_programs_pack_honestly_goes_in(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "old.mar"
    path.write_bytes(content)
    assert source(path).pickle is None


def test_a_directory_too_large_to_read_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "large.mar"
    entries = Entry("", (0, 0, 0), b"", (0, 0, 0)).central(0) * 400_000
    sizes = (1, 1, len(entries), 0)
    path.write_bytes(entries + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, *sizes, 0))
    with pytest.raises(BadInput, match="over 16 MiB"):
        source(path)


@pytest.mark.parametrize("files", [{}, {"MAR-INF/MANIFEST.json": b"[]"}])
def test_what_is_no_torchserve_archive_is_refused(tmp_path: Path, files: dict[str, bytes]) -> None:
    path = tmp_path / "any.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme", "x")
        for name, content in files.items():
            archive.writestr(name, content)
    with pytest.raises(BadInput, match="TorchServe"):
        source(path)


def test_a_name_and_a_version_are_needed(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="needs a name"):
        foreign_source(mar(tmp_path, {}), "old", None, {}, allow_pickle=False)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mar(tmp_path_factory.mktemp("good"), {"model.safetensors": bytes(300)})


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_changed_bytes_make_it_raise_anything_else(good: Path, data: st.DataObject) -> None:
    content = changed(good.read_bytes(), data)
    path = good.with_name("changed.mar")
    path.write_bytes(content)
    with contextlib.suppress(BadInput, Refused):
        source(path)


def changed(content: bytes, data: st.DataObject) -> bytes:
    mutable = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        mutable[data.draw(st.integers(0, len(mutable) - 1))] = data.draw(st.integers(0, 255))
    return bytes(mutable)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    """Honest and lying ones."""
    entry = Entry.honest(draw(st.sampled_from("abc")), draw(st.binary(max_size=9)))
    if draw(st.booleans()):
        entry = entry.described(draw(st.sampled_from([b"", b"PK\x07\x08"])))
    if draw(st.booleans()):
        entry = with_hidden(entry, stated=draw(st.booleans()))
    numbers = st.sampled_from([0, 1, len(entry.body), *entry.header, *entry.directory, 0xFFFFFFFF])
    if draw(st.integers(0, 4)) == 0:
        entry = replace(entry, header=draw(st.tuples(numbers, numbers, numbers)))
    if draw(st.integers(0, 4)) == 0:
        entry = replace(entry, directory=draw(st.tuples(numbers, numbers, numbers)))
    return entry


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(entries(), max_size=3), st.data())
def test_a_reader_of_headers_sees_what_was_scanned(
    good: Path, some: list[Entry], data: st.DataObject
) -> None:
    content = crafted(MANIFEST_ENTRY, *some)
    if data.draw(st.booleans()):
        content = changed(content, data)
    path = good.with_name("crafted.mar")
    path.write_bytes(content)
    try:
        scanned = {name: copy.read_bytes() for name, copy in unpacked_files(path)}
    except (BadInput, Refused):
        return
    assert seen_from_the_front(content) == scanned
