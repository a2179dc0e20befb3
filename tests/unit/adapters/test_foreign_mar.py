"""Archives that others built: opened safely, and searched for pickles under any name."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
    path = tmp_path / "bomb.mar"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("MAR-INF/MANIFEST.json", MANIFEST)
        with archive.open("zeros", "w", force_zip64=True) as zeros:
            for _ in range(1100):
                zeros.write(bytes(1024 * 1024))
    assert path.stat().st_size < 10 * 1024 * 1024
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
    content = bytearray(good.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = good.with_name("changed.mar")
    path.write_bytes(bytes(content))
    with contextlib.suppress(BadInput, Refused):
        source(path)
