"""Archives that others built, in a real S3: as they are, under a name, with pickles on record."""

from __future__ import annotations

import gzip
import json
import pickle
import zipfile
from pathlib import Path

import pytest

from store_shop import Shop

pytestmark = pytest.mark.integration
NAMED = ("--model", "old", "--version", "3")


def mar(folder: Path, **files: bytes) -> Path:
    path = folder / "old.mar"
    manifest = {"model": {"modelName": "old", "handler": "h.py"}}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        archive.writestr("h.py", "class Handler: pass\n")
        for name, content in files.items():
            archive.writestr(name.replace("_", "."), content)
    return path


def test_any_torchserve_archive_goes_in_and_comes_back_byte_for_byte(
    shop: Shop, tmp_path: Path
) -> None:
    path = mar(tmp_path, vocab_txt=b"a b c", __init___py=b"")
    refused = shop("push", path)
    assert refused.code == 2
    pushed = shop.ok("push", path, *NAMED)
    assert (pushed["kind"], pushed["outcome"]) == ("foreign", "pushed")
    pulled = Path(shop.ok("pull", "old", "3", "out")["folder"])
    assert (pulled / "archive.mar").read_bytes() == path.read_bytes()
    assert "already" in shop("push", path, *NAMED).out
    assert shop("verify", "old", "3").code == 0


def test_pickles_are_refused_until_they_are_allowed_and_then_on_record(
    shop: Shop, tmp_path: Path
) -> None:
    path = mar(tmp_path, model_pkl=pickle.dumps({"w": [1.0]}))
    refused = shop("push", path, *NAMED)
    assert refused.code == 3
    assert "model.pkl" in refused.err
    assert shop.objects() == {}
    shop.ok("push", path, *NAMED, "--allow-pickle")
    recorded = json.loads(shop.read("models/old/3/manifest.json"))["pickle"]
    assert recorded["files"] == ["model.pkl"]
    assert recorded["allowed_by"]


def test_what_is_not_safe_is_refused_and_nothing_of_it_is_sent(shop: Shop, tmp_path: Path) -> None:
    packed = mar(tmp_path, weights_gz=gzip.compress(pickle.dumps({"w": [1.0]})))
    refused = shop("push", packed, *NAMED)
    assert refused.code == 3
    assert "weights.gz/weights" in refused.err
    # TorchServe takes a file's name from its header, Python from the directory.
    packed.write_bytes(mar(tmp_path).read_bytes().replace(b"h.py", b"x.py", 1))
    refused = shop("push", packed, *NAMED, "--allow-pickle")
    assert refused.code == 3
    assert "called otherwise" in refused.err
    assert shop.objects() == {}


def test_a_foreign_version_can_be_signed_and_wears_no_other_versions_signature(
    shop: Shop, tmp_path: Path
) -> None:
    shop.ok("keygen", "release")
    (shop.root / "tslc.yaml").write_text("environments: {live: {trusted_keys: [release.pub]}}\n")
    path = mar(tmp_path)
    shop.ok("push", path, *NAMED, "--sign", "release.key")
    verified = shop.ok("verify", "old", "3", "--environment", "live")
    assert "signed by release.pub" in verified["trust"]
    shop.ok("push", path, "--model", "old", "--version", "4")
    shop.overwrite("models/old/4/signature.json", shop.read("models/old/3/signature.json"))
    refused = shop("verify", "old", "4", "--environment", "live")
    assert refused.code == 3
    assert "is that of 'old-3'" in refused.err
