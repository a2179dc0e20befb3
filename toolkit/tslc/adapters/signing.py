"""Signatures in OpenSSF's model signing format (bundle v0.3), made and read by its own library.

Nothing is hashed again: the library's manifest is built from digests that are known. What it signs
is the folder that `tslc pull` makes, but for the files beside `archive/` and `weights/`; those are
named in the signature, so that `model_signing verify` leaves them out by itself.

The library's module of EC keys is its own affair (its public door hashes every file), hence the
exact version in pyproject.toml.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from model_signing import manifest
from model_signing._hashing import hashing
from model_signing._signing import sign_ec_key, sign_sigstore_pb, signing

from tslc.adapters.private_files import create_private
from tslc.domain.trust import Broken, Signature
from tslc.errors import BadInput, Refused

_SHA256 = re.compile(r"[0-9a-f]{64}")
_HASH = "sha256"
# What a signature that is not one makes the library raise.
_NOT_A_BUNDLE = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)


class Signer(Protocol):
    """What turns the library's payload into its signature."""

    def sign(self, payload: signing.Payload) -> signing.Signature: ...


class PrivateKey(Protocol):
    """A key that signs: here, or in a KMS."""

    def public_key(self) -> ec.EllipticCurvePublicKey: ...

    def sign(self, content: bytes, algorithm: ec.ECDSA, /) -> bytes: ...


def signer_of_file(path: Path) -> Signer:
    """A private key on disk, PEM, on P-256, P-384 or P-521. Raises BadInput."""
    try:
        made: Signer = sign_ec_key.Signer(path)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}", hint="tslc keygen release") from None
    except (ValueError, TypeError, AttributeError):
        message = f"{path} is not a private key to sign with (PEM, EC, without a password)"
        raise BadInput(message, hint="tslc keygen release") from None
    return made


def signer_of(key: PrivateKey) -> Signer:
    """The library's own signer around a key that is in no file."""
    made: Any = sign_ec_key.Signer.__new__(sign_ec_key.Signer)
    made._private_key = key
    signer: Signer = made
    return signer


def sign(files: Mapping[str, str], subject: str, beside: Sequence[str], signer: Signer) -> bytes:
    """The bundle over `files` (SHA-256 in hex by path), called `subject`.

    `beside`: paths of the folder that are not signed.
    """
    kind = manifest._FileSerialization(_HASH, False, [Path(path) for path in sorted(beside)])
    items = [
        kind.new_item(path, hashing.Digest(_HASH, bytes.fromhex(digest)))
        for path, digest in files.items()
    ]
    made = signer.sign(signing.Payload(manifest.Manifest(subject, items, kind)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "signature.json")
        made.write(path)
        return path.read_bytes()


def read_signature(content: bytes, trusted: Sequence[Path]) -> Signature | Broken:
    """What a bundle says, and which of the trusted public keys made it.

    Raises BadInput for a trusted key that can't be read: nobody could say what it vouches for.
    """
    keys = {path: _public_key(path) for path in trusted}
    try:
        document = json.loads(content)
        stated = document["verificationMaterial"]["publicKey"].get("hint")
        subject, files = _statement(document)
    except _NOT_A_BUNDLE as error:
        return Broken(f"not a signature made with a key ({_words(error)})")
    for path, hint in keys.items():
        if stated in (hint, None, ""):
            problem = _problem(content, path)
            if problem is None:
                return Signature(hint, subject, files, path)
            if stated == hint:
                return Broken(f"{path.name} did not make it ({problem})")
    return Signature(str(stated or "without a name"), subject, files, None)


def _statement(document: Any) -> tuple[str, dict[str, str]]:
    """The subject's name and the signed files; raises ValueError for another kind of statement."""
    payload = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"], validate=True))
    subject = payload["subject"][0]["name"]
    predicate = payload["predicate"]
    if predicate["serialization"]["method"] != "files":
        raise ValueError("over pieces of files; sign whole files")
    files: dict[str, str] = {}
    for one in predicate["resources"]:
        name, digest = one["name"], one["digest"]
        if one["algorithm"] != _HASH or not _SHA256.fullmatch(digest):
            raise ValueError("digests that are not SHA-256")
        if name in files:
            raise ValueError(f"{name!r} stands twice in it")
        files[name] = digest
    return str(subject), files


def _problem(content: bytes, key: Path) -> str | None:
    """Why the key did not make the signature; None when it did."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "signature.json")
        path.write_bytes(content)
        try:
            # The library prints a remark about old bundles where results belong.
            with contextlib.redirect_stdout(sys.stderr):
                bundle = sign_sigstore_pb.Signature.read(path)
                sign_ec_key.Verifier(key).verify(bundle)
        except InvalidSignature:
            return "the signature does not fit"
        except _NOT_A_BUNDLE as error:
            return _words(error)
    return None


def _public_key(path: Path) -> str:
    """The name of a public key: SHA-256 of its PEM, as bundles name it. Raises BadInput."""
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise BadInput(f"the trusted key {path}: {error.strerror}", hint="tslc config") from None
    except ValueError:
        raise BadInput(f"{path} is not a public key in PEM", hint="tslc config") from None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise BadInput(f"{path} is not an EC key; no other makes signatures", hint="tslc config")
    return key_name(key)


def key_name(key: ec.EllipticCurvePublicKey) -> str:
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()


def make_key_pair(private: Path, public: Path) -> str:
    """A new key on P-256; the name of its public key.

    The private key has no password: mode 0600. Raises Refused rather than write over a file.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    secret = key.private_bytes(
        Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_public_key(key.public_key(), public)
    try:
        private.parent.mkdir(parents=True, exist_ok=True)
        create_private(private, secret)
    except OSError as error:
        public.unlink()
        raise _not_written(private, error) from None
    return key_name(key.public_key())


def write_public_key(key: ec.EllipticCurvePublicKey, path: Path) -> None:
    """Raises Refused rather than write over a file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            file.write(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    except OSError as error:
        raise _not_written(path, error) from None


def _not_written(path: Path, error: OSError) -> Refused | BadInput:
    if isinstance(error, FileExistsError):
        return Refused(f"{path} exists already", hint="name another file; a key is never replaced")
    return BadInput(f"{path}: {error.strerror}", hint="name a file that can be written")


def _words(error: Exception) -> str:
    missing = isinstance(error, KeyError)
    said = " ".join(str(error).split())[:120]
    return f"no {said}" if missing else said or type(error).__name__
