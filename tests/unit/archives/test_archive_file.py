"""Crafted and broken archives: refused before anything of them is used."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import struct
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from tslc.adapters import archive_layout as layout
from tslc.adapters.archive_file import open_archive, unpack
from tslc.adapters.archive_readers import read_entries
from tslc.adapters.stored_gzip import HEAD
from tslc.domain.manifest import FileEntry
from tslc.errors import BadFile, BadInput

FORMATS = ["mar", "tgz", "no-archive"]


def repack(archive: Path, change: dict[str, bytes | None]) -> Path:
    """The same archive in tslc's own layout with files changed, added or (None) left out."""
    parts = archive.parent / "parts"
    files: dict[str, Path] = {}
    for entry in read_entries(archive):
        target = parts / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"".join(entry.chunks))
        files[entry.path] = target
    for path, content in change.items():
        if content is None:
            del files[path]
            continue
        files[path] = parts / path.replace("/", "_").replace("..", "up")
        files[path].write_bytes(content)
    if archive.suffix == ".mar":
        layout.write_zip(files, archive)
    else:
        layout.write_tgz(files, archive, "tiny")
    return archive


@pytest.mark.parametrize("archive_format", ["mar", "tgz"])
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"notes.txt": b"another\n"}, "notes.txt: its content is not what the manifest says"),
        ({"more.txt": b"x"}, "more.txt: in the archive but not in its manifest"),
        ({"notes.txt": None}, "notes.txt: in the manifest but not in the archive"),
        ({"tslc-manifest.json": None}, "not an archive that tslc built"),
        ({"tslc-manifest.json": b"{}"}, "mistakes"),
        ({"MAR-INF/MANIFEST.json": b"{}"}, "configFile is None"),
        ({"../evil.py": b"x"}, "'..'"),
        ({"/evil.py": b"x"}, "relative path"),
    ],
)
def test_a_tampered_archive_is_refused_with_the_file_named(
    workshop, archive_format, change, expected
):
    archive = repack(workshop.built("--format", archive_format), change)
    with pytest.raises(BadFile) as refused:
        open_archive(archive)
    assert expected in str(refused.value).replace("an empty part, '.' or '..'", "'..'")


def test_every_tampered_file_is_named_at_once(workshop):
    archive = repack(workshop.built(), {"notes.txt": b"x", "more.txt": b"x", "golden.jsonl": b"x"})
    with pytest.raises(BadFile) as refused:
        open_archive(archive)
    assert {m.where for m in refused.value.mistakes} == {"notes.txt", "more.txt", "golden.jsonl"}


def test_torchserves_manifest_must_name_the_same_model_and_handler(workshop):
    archive = workshop.built()
    stock = open_archive(archive).read("MAR-INF/MANIFEST.json")
    repack(archive, {"MAR-INF/MANIFEST.json": stock.replace(b"1.0.0", b"6.6.6")})
    with pytest.raises(BadFile, match=r"modelVersion is '6\.6\.6', but this"):
        open_archive(archive)


@pytest.mark.parametrize("archive_format", ["mar", "tgz"])
def test_a_flipped_byte_is_noticed_or_changes_nothing(workshop, archive_format):
    archive = workshop.built("--format", archive_format)
    whole = archive.read_bytes()
    before = open_archive(archive).manifest
    noticed = 0
    positions = range(0, len(whole), max(1, len(whole) // 200))
    for position in positions:
        spoiled = bytearray(whole)
        spoiled[position] ^= 0x55
        archive.write_bytes(spoiled)
        try:
            assert open_archive(archive).manifest == before
        except BadFile:
            noticed += 1
    assert noticed == len(positions)


@pytest.mark.parametrize("archive_format", ["mar", "tgz"])
def test_an_archive_cut_short_is_refused(workshop, archive_format):
    archive = workshop.built("--format", archive_format)
    whole = archive.read_bytes()
    for size in (0, 1, 2, 10, 600, len(whole) // 2, len(whole) - 1):
        archive.write_bytes(whole[:size])
        with pytest.raises(BadFile):
            open_archive(archive)


def test_a_zip_with_a_link_is_refused(tmp_path):
    archive = tmp_path / "x.mar"
    link = layout.zip_entry("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(archive, "w") as mar:
        mar.writestr(link, "/etc/passwd")
    with pytest.raises(BadFile, match="it is a link"):
        open_archive(archive)


def test_a_deflated_zip_bomb_is_refused_unread(tmp_path):
    archive = tmp_path / "bomb.mar"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as mar:
        mar.writestr("zeros", bytes(50_000_000))
    with pytest.raises(BadFile, match="deflated"):
        open_archive(archive)


def test_a_zip_whose_local_headers_hide_a_file_from_its_directory_is_refused(workshop):
    """TorchServe reads local headers, Python reads the directory: both must see the same."""
    archive = workshop.built()
    whole = archive.read_bytes()
    hidden = io.BytesIO()
    with zipfile.ZipFile(hidden, "w") as mar:
        mar.writestr(layout.zip_entry("sitecustomize.py"), "import os")
    first = hidden.getvalue()[: 30 + len("sitecustomize.py") + len("import os")]
    end = whole.rindex(b"PK\x05\x06")
    (offset,) = struct.unpack("<L", whole[end + 16 : end + 20])
    moved = whole[: end + 16] + struct.pack("<L", offset + len(first)) + whole[end + 20 :]
    for crafted in (
        first + whole,
        first + moved,
        whole[:offset] + first + moved[offset:],
    ):
        archive.write_bytes(crafted)
        with pytest.raises(BadFile):
            open_archive(archive)


def stored(content: bytes) -> bytes:
    stream = io.BytesIO()
    sink = layout.StoredGzip(stream)
    sink.write(content)
    sink.finish()
    return stream.getvalue()


def _tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def _member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mtime = kind, size, layout.TIME
    return info


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (_tar((_member("tiny/link", tarfile.SYMTYPE), b"")), "it is a link"),
        (_tar((_member("tiny/hard", tarfile.LNKTYPE), b"")), "it is a link"),
        (_tar((_member("tiny/pipe", tarfile.FIFOTYPE), b"")), "no regular file"),
        (_tar((_member("tiny/../../evil", size=1), b"x")), "'..'"),
        (_tar((_member("/etc/evil", size=1), b"x")), "not a relative path"),
        (_tar((_member("tiny/" + "long" * 60), b"")), "no regular file"),
        (layout.tar_header("tiny/huge", 7_000_000_000), "cut short"),
        (b"no tar at all" * 99, "not a whole tar"),
    ],
)
def test_a_crafted_tar_is_refused(tmp_path, content, expected):
    archive = tmp_path / "x.tar.gz"
    archive.write_bytes(stored(content))
    with pytest.raises(BadFile) as refused:
        open_archive(archive)
    assert expected in str(refused.value)


def test_a_gzip_bomb_is_refused_before_it_unpacks(tmp_path):
    archive = tmp_path / "bomb.tar.gz"
    zeros = 50_000_000
    archive.write_bytes(gzip.compress(layout.tar_header("tiny/zeros", zeros) + bytes(zeros)))
    with pytest.raises(BadFile, match="a gzip head that is not tslc's"):
        open_archive(archive)
    # What compresses it has blocks of its own, whatever its head says.
    archive.write_bytes(HEAD + archive.read_bytes()[10:])
    with pytest.raises(BadFile, match="not laid out as tslc packs it"):
        open_archive(archive)


def test_a_gzip_of_two_members_or_with_a_tail_is_refused(workshop):
    """Some unpackers stop after the first member, others go on."""
    archive = workshop.built("--format", "tgz")
    whole = archive.read_bytes()
    for crafted in (whole + stored(b"x"), whole + whole, whole + bytes(9), stored(b"") + whole):
        archive.write_bytes(crafted)
        with pytest.raises(BadFile):
            open_archive(archive)


def test_an_archive_without_model_config_or_with_golden_prompts_that_are_no_text_is_refused(
    workshop,
):
    workshop.built()
    manifest = open_archive(workshop.dist / "tiny-1.0.0.mar").manifest
    files = dict(manifest.files)
    del files["model-config.yaml"]
    golden = b"\xff\xfe"
    files["golden.jsonl"] = FileEntry(hashlib.sha256(golden).hexdigest(), len(golden))
    change = {
        "model-config.yaml": None,
        "golden.jsonl": golden,
        "tslc-manifest.json": replace(manifest, files=files).render(),
    }
    archive = open_archive(repack(workshop.dist / "tiny-1.0.0.mar", change))
    with pytest.raises(BadFile, match=r"model-config\.yaml: not in the archive"):
        _ = archive.model_config
    with pytest.raises(BadFile, match=r"golden\.jsonl: not UTF-8"):
        _ = archive.golden


def test_a_folder_with_a_link_or_a_stray_file_is_refused(workshop):
    folder = workshop.built("--format", "no-archive")
    cached = folder / "__pycache__" / "tslc_handler.cpython-311.pyc"
    cached.parent.mkdir()
    cached.write_bytes(b"x")
    with pytest.raises(BadFile, match="in the archive but not in its manifest"):
        open_archive(folder)
    cached.unlink()
    cached.symlink_to("/etc/passwd")
    with pytest.raises(BadFile, match="link"):
        open_archive(folder)
    cached.unlink()
    os.mkfifo(cached)
    with pytest.raises(BadFile, match="no regular file"):
        open_archive(folder)


def test_neither_a_missing_nor_a_foreign_file_is_an_archive(tmp_path):
    with pytest.raises(BadInput, match="no archive"):
        open_archive(tmp_path / "none.mar")
    (tmp_path / "text.mar").write_text("hello")
    with pytest.raises(BadFile, match=r"neither a \.mar nor"):
        open_archive(tmp_path / "text.mar")


def test_a_file_that_changes_after_opening_is_not_handed_out(workshop):
    path = workshop.built()
    archive = open_archive(path)
    repack(path, {"golden.jsonl": b"{}\n", "notes.txt": None})
    with pytest.raises(BadFile, match="changed since it was opened"):
        _ = archive.golden
    with pytest.raises(BadFile, match="gone since it was opened"):
        archive.read("notes.txt")


@pytest.mark.parametrize("archive_format", FORMATS)
def test_unpacking_gives_the_verified_files(workshop, tmp_path, archive_format):
    archive = open_archive(workshop.built("--format", archive_format))
    folder = tmp_path / "unpacked"
    unpack(archive, folder)
    assert open_archive(folder).manifest == archive.manifest
    with pytest.raises(FileExistsError):
        unpack(archive, folder)


def test_unpacking_a_changed_archive_fails(workshop, tmp_path):
    path = workshop.built()
    archive = open_archive(path)
    repack(path, {"notes.txt": b"x"})
    with pytest.raises(BadFile, match="changed since it was opened"):
        unpack(archive, tmp_path / "unpacked")
