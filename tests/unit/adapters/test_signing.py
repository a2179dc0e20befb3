"""Signatures: ours and those of the model_signing command, local keys and a key in KMS."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto import mock_aws
from moto.kms.utils import ECDSAPrivateKey

from tslc.adapters import signing
from tslc.adapters.kms_signing import KmsKey
from tslc.domain.trust import Broken, Signature
from tslc.errors import BadInput, Refused, RemoteFailed

COMMAND = str(Path(sys.executable).with_name("model_signing"))
BESIDE = ("manifest.json", "signature.json", "bot-1.0.0.mar")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A pulled version."""
    root = tmp_path / "bot-1.0.0"
    for path in ("archive/handler.py", "archive/a folder/ü.txt", "weights/model.safetensors"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(f"content of {path}")
    (root / "manifest.json").write_text("{}")
    (root / "bot-1.0.0.mar").write_bytes(b"packed")
    return root


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    signing.make_key_pair(tmp_path / "release.key", tmp_path / "release.pub")
    signing.make_key_pair(tmp_path / "other.key", tmp_path / "other.pub")
    return tmp_path


def files_of(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.parent != folder
    }


def sign(folder: Path, key: Path) -> bytes:
    made = signing.signer_of_file(key)
    return signing.sign(files_of(folder), folder.name, BESIDE, made)


def model_signing(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *map(str, words)], capture_output=True, text=True, timeout=60)


def verified_by_the_command(folder: Path, content: bytes, public: Path) -> bool:
    (folder / "signature.json").write_bytes(content)
    signature = folder / "signature.json"
    done = model_signing("verify", "key", folder, "--signature", signature, "--public_key", public)
    assert done.returncode == 0 or "failed" in done.stderr + done.stdout, done.stderr
    return done.returncode == 0


def test_the_command_alone_verifies_what_we_sign(folder: Path, keys: Path) -> None:
    content = sign(folder, keys / "release.key")
    assert verified_by_the_command(folder, content, keys / "release.pub")
    assert not verified_by_the_command(folder, content, keys / "other.pub")
    (folder / "archive" / "handler.py").write_text("changed")
    assert not verified_by_the_command(folder, content, keys / "release.pub")


def test_we_verify_what_the_command_signed(folder: Path, keys: Path) -> None:
    signature = folder.parent / "signature.json"
    beside = [word for name in BESIDE for word in ("--ignore-paths", folder / name)]
    done = model_signing(
        *("sign", "key", folder, "--signature", signature),
        *("--private_key", keys / "release.key", *beside),
    )
    assert done.returncode == 0, done.stderr
    found = signing.read_signature(
        signature.read_bytes(), [keys / "other.pub", keys / "release.pub"]
    )
    assert isinstance(found, Signature)
    assert found.verified_by == keys / "release.pub"
    assert found.files == files_of(folder)
    assert found.subject == "bot-1.0.0"


def test_a_signature_names_its_key_and_its_files(folder: Path, keys: Path) -> None:
    content = sign(folder, keys / "release.key")
    found = signing.read_signature(content, [keys / "release.pub"])
    assert isinstance(found, Signature)
    assert (found.verified_by, found.files) == (keys / "release.pub", files_of(folder))
    strange = signing.read_signature(content, [keys / "other.pub"])
    assert isinstance(strange, Signature)
    assert strange.verified_by is None
    assert strange.key == found.key


def test_what_was_changed_after_signing_is_broken(folder: Path, keys: Path) -> None:
    document = json.loads(sign(folder, keys / "release.key"))
    payload = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))
    payload["predicate"]["resources"][0]["digest"] = "0" * 64
    changed = base64.b64encode(json.dumps(payload).encode()).decode()
    document["dsseEnvelope"]["payload"] = changed
    found = signing.read_signature(json.dumps(document).encode(), [keys / "release.pub"])
    assert found == Broken("release.pub did not make it (the signature does not fit)")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Path]:
    root = tmp_path_factory.mktemp("bundle")
    signing.make_key_pair(root / "k.key", root / "k.pub")
    made = signing.signer_of_file(root / "k.key")
    files = {f"archive/{count}": hashlib.sha256(bytes([count])).hexdigest() for count in range(3)}
    return signing.sign(files, "bot-1.0.0", BESIDE, made), root / "k.pub"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_no_changed_byte_makes_another_statement_come_true(
    bundle: tuple[bytes, Path], data: st.DataObject
) -> None:
    content, public = bundle
    before = signing.read_signature(content, [public])
    assert isinstance(before, Signature)
    place = data.draw(st.integers(0, len(content) - 1))
    byte = data.draw(st.integers(0, 255))
    changed = content[:place] + bytes([byte]) + content[place + 1 :]
    found = signing.read_signature(changed, [public])
    if isinstance(found, Signature) and found.verified_by:
        assert (found.files, found.subject) == (before.files, before.subject)


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_bytes_are_a_broken_signature_and_no_exception(content: bytes) -> None:
    assert isinstance(signing.read_signature(content, []), Broken)


def test_keys_are_made_for_their_owner_alone_and_never_replaced(tmp_path: Path) -> None:
    private, public = tmp_path / "k" / "a.key", tmp_path / "k" / "a.pub"
    name = signing.make_key_pair(private, public)
    assert len(name) == 64
    assert private.stat().st_mode & 0o777 == 0o600
    before = private.read_bytes()
    with pytest.raises(Refused):
        signing.make_key_pair(private, public)
    public.unlink()
    with pytest.raises(Refused):
        signing.make_key_pair(private, public)
    assert private.read_bytes() == before
    assert not public.exists()


def test_a_trusted_key_that_can_not_be_read_is_an_error(folder: Path, keys: Path) -> None:
    content = sign(folder, keys / "release.key")
    (keys / "broken.pub").write_text("not a key")
    for name in ("none.pub", "broken.pub", "release.key"):
        with pytest.raises(BadInput):
            signing.read_signature(content, [keys / "release.pub", keys / name])


def test_what_can_not_sign_is_an_error(keys: Path) -> None:
    (keys / "broken.key").write_text("not a key")
    for name in ("none.key", "broken.key", "release.pub"):
        with pytest.raises(BadInput):
            signing.signer_of_file(keys / name)


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Makes a key in a KMS that knows of digests: moto hashes what it is given, always."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setattr(ECDSAPrivateKey, "sign", _sign_digest)

    def create(spec: str = "ECC_NIST_P256", usage: str = "SIGN_VERIFY") -> str:
        made = boto3.client("kms").create_key(KeySpec=spec, KeyUsage=usage)
        return str(made["KeyMetadata"]["Arn"])

    return create


def _sign_digest(key: ECDSAPrivateKey, message: bytes, signing_algorithm: str) -> bytes:
    assert signing_algorithm == "ECDSA_SHA_256"
    made: bytes = key.private_key.sign(message, ec.ECDSA(Prehashed(hashes.SHA256())))
    return made


def test_a_key_in_kms_signs_as_one_on_disk(
    folder: Path, keys: Path, kms: Callable[..., str]
) -> None:
    with mock_aws():
        key = KmsKey(f"awskms:///{kms()}")
        asked: list[dict[str, object]] = []
        events = key._client.meta.events
        events.register("provide-client-params.kms.Sign", lambda params, **_: asked.append(params))
        signer = signing.signer_of(key)
        content = signing.sign(files_of(folder), folder.name, BESIDE, signer)
    assert [one["MessageType"] for one in asked] == ["DIGEST"]
    signing.write_public_key(key.public_key(), keys / "kms.pub")
    found = signing.read_signature(content, [keys / "release.pub", keys / "kms.pub"])
    assert isinstance(found, Signature)
    assert found.verified_by == keys / "kms.pub"
    assert verified_by_the_command(folder, content, keys / "kms.pub")


def test_a_kms_key_of_another_kind_is_refused_before_anything_is_signed(
    kms: Callable[..., str],
) -> None:
    with mock_aws():
        for spec in ("RSA_2048", "ECC_NIST_P384", "ECC_SECG_P256K1"):
            with pytest.raises(BadInput, match="can't sign versions"):
                KmsKey(f"awskms:///{kms(spec)}")


def test_a_kms_key_that_is_not_there_is_one_clear_line(kms: Callable[..., str]) -> None:
    with mock_aws(), pytest.raises(RemoteFailed, match="kms:GetPublicKey"):
        KmsKey("awskms:///alias/nobody")
