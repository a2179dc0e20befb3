"""A signature made and checked with the key that versions are to be signed with."""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tslc.adapters import signing
from tslc.adapters.kms_signing import SCHEME, KmsKey
from tslc.adapters.signing import PrivateKey
from tslc.errors import RemoteFailed

_CONTENT = b"tslc doctor"


def try_key(key: str) -> None:
    """Raises BadInput for a key that can't sign, RemoteFailed when KMS refuses or errs."""
    private: PrivateKey = KmsKey(key) if key.startswith(SCHEME) else _of_file(Path(key))
    algorithm = ec.ECDSA(hashes.SHA256())
    signature = private.sign(_CONTENT, algorithm)
    try:
        private.public_key().verify(signature, _CONTENT, algorithm)
    except InvalidSignature:
        raise RemoteFailed(f"{key} makes signatures that don't fit its public key") from None


def _of_file(path: Path) -> ec.EllipticCurvePrivateKey:
    signing.signer_of_file(path)
    loaded = serialization.load_pem_private_key(path.read_bytes(), None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey)
    return loaded
