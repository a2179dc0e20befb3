"""Signed versions in a real S3: who may use what, and what the model_signing command says."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nodes import Node, TinyArchives
from store_shop import Shop, weights
from tslc.domain.store_manifest import StoreManifest

pytestmark = pytest.mark.integration
SIGNATURE = "models/signed/1.0.0/signature.json"
RULES = """\
environments:
  production: {trusted_keys: [release.pub]}
  dev: {allow_unsigned: true}
"""


@pytest.fixture(scope="session")
def archive(archives: TinyArchives) -> Path:
    return archives.build("signed", "1.0.0", weights=weights(2))


@pytest.fixture
def keyed(shop: Shop) -> Shop:
    """A shop whose production trusts release.pub alone."""
    (shop.root / "tslc.yaml").write_text(RULES)
    for name in ("release", "other"):
        shop.ok("keygen", name)
    return shop


def model_signing(shop: Shop, *words: object) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("model_signing")), *map(str, words)]
    return subprocess.run(command, cwd=shop.root, capture_output=True, text=True, timeout=60)


def test_a_signed_version_verifies_with_the_model_signing_command_alone(
    keyed: Shop, archive: Path
) -> None:
    assert keyed.ok("push", archive, "--sign", "release.key")["signed"]
    pulled = keyed.ok("pull", "signed", "1.0.0", "out", "--environment", "production")
    assert "signed by release.pub" in pulled["trust"]
    folder = Path(pulled["folder"])
    words = ("verify", "key", folder, "--signature", folder / "signature.json", "--public_key")
    done = model_signing(keyed, *words, "release.pub")
    assert done.returncode == 0, done.stderr
    assert model_signing(keyed, *words, "other.pub").returncode != 0
    (folder / "archive" / "added.py").write_text("")
    assert model_signing(keyed, *words, "release.pub").returncode != 0


def test_a_signature_made_by_the_model_signing_command_counts(keyed: Shop, archive: Path) -> None:
    keyed.ok("push", archive)
    folder = Path(keyed.ok("pull", "signed", "1.0.0", "out")["folder"])
    beside = [folder / "manifest.json", folder / "signed-1.0.0.mar"]
    done = model_signing(
        keyed,
        *("sign", "key", folder, "--signature", keyed.root / "signature.json"),
        *("--private_key", "release.key"),
        *(word for path in beside for word in ("--ignore-paths", path)),
    )
    assert done.returncode == 0, done.stderr
    keyed.overwrite(SIGNATURE, (keyed.root / "signature.json").read_bytes())
    verified = keyed.ok("verify", "signed", "1.0.0", "--environment", "production")
    assert "signed by release.pub" in verified["trust"]


def test_each_reason_to_distrust_a_version_has_its_own_message(
    keyed: Shop, archive: Path, archives: TinyArchives, node: Node
) -> None:
    def refusals() -> str:
        said = set()
        for verb in ("verify", "pull", "register"):
            ran = keyed.on(node)(verb, "signed", "1.0.0", "--environment", "production")
            assert ran.code == 3, ran.out + ran.err
            said.add(ran.err)
        (message,) = said
        return message

    keyed.ok("push", archive)
    assert "is not signed, and production takes signed versions only" in refusals()
    assert keyed("verify", "signed", "1.0.0", "--environment", "dev").code == 0

    assert keyed.ok("push", archive, "--sign", "other.key")["outcome"] != "pushed"
    assert "which production does not trust" in refusals()

    keyed.overwrite(SIGNATURE, b"{}")
    assert "is broken: not a signature" in refusals()

    another = archives.build("signed", "1.1.0", weights=weights(2))
    keyed.ok("push", another, "--sign", "release.key")
    keyed.overwrite(SIGNATURE, keyed.read("models/signed/1.1.0/signature.json"))
    assert "over other content" in refusals()
    assert keyed("verify", "signed", "1.0.0", "--environment", "dev").code == 3

    document = json.loads(keyed.read("models/signed/1.1.0/signature.json"))
    document["dsseEnvelope"]["signatures"][0]["sig"] = "MEUCIQ=="
    keyed.overwrite(SIGNATURE, json.dumps(document).encode())
    assert "is broken: release.pub did not make it" in refusals()
    assert not (keyed.root / "dist").exists()
    assert node.versions("signed") == {}


def test_a_version_that_is_there_can_be_signed_later(keyed: Shop, archive: Path) -> None:
    keyed.ok("push", archive)
    again = keyed.ok("push", archive, "--sign", "release.key")
    assert again["signed"]
    assert keyed("verify", "signed", "1.0.0", "--environment", "production").code == 0


def test_a_key_that_can_not_sign_is_found_before_anything_is_sent(
    keyed: Shop, archive: Path
) -> None:
    assert keyed("push", archive, "--sign", "release.pub").code == 2
    assert keyed.objects() == {}


def test_a_signature_vouches_for_no_other_name(keyed: Shop, archive: Path, node: Node) -> None:
    """Who may write manifests can copy a signed version, its signature too, to another name."""
    keyed.ok("push", archive, "--sign", "release.key")
    theirs = StoreManifest.parse(keyed.read("models/signed/1.0.0/manifest.json"), "it")
    for model, version in (("signed", "2.0.0"), ("another", "1.0.0")):
        forged = replace(theirs, model=model, version=version)
        keyed.overwrite(f"models/{model}/{version}/manifest.json", forged.render())
        keyed.overwrite(f"models/{model}/{version}/signature.json", keyed.read(SIGNATURE))
        for verb in ("verify", "pull", "register"):
            refused = keyed.on(node)(verb, model, version, "--environment", "production")
            assert refused.code == 3, refused.out
            assert "holds the archive of signed 1.0.0" in refused.err


def test_other_weights_under_an_archives_name_are_refused(keyed: Shop, archive: Path) -> None:
    keyed.ok("push", archive)
    theirs = StoreManifest.parse(keyed.read("models/signed/1.0.0/manifest.json"), "it")
    (config,) = (entry for path, entry in theirs.files.items() if path == "weights/config.json")
    files = {path: config if "00001" in path else entry for path, entry in theirs.files.items()}
    key = "models/signed/1.0.0/manifest.json"
    keyed.overwrite(key, replace(theirs, files=files).render())
    for verb in ("verify", "pull"):
        refused = keyed(verb, "signed", "1.0.0", "--environment", "dev")
        assert (refused.code, "has other files than its archive" in refused.err) == (3, True)


def test_a_second_key_is_told_that_it_signed_nothing(keyed: Shop, archive: Path) -> None:
    keyed.ok("push", archive, "--sign", "release.key")
    assert not keyed.ok("push", archive, "--sign", "release.key")["signed"]
    refused = keyed("push", archive, "--sign", "other.key")
    assert (refused.code, "signed by key" in refused.err) == (3, True)
    assert keyed("verify", "signed", "1.0.0", "--environment", "production").code == 0
