"""Signing with a key that never leaves AWS KMS: an asymmetric key, ECC_NIST_P256, SIGN_VERIFY."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from typing import Any, cast

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tslc.errors import BadInput, RemoteFailed

SCHEME = "awskms:///"
_ALGORITHM = "ECDSA_SHA_256"
_DENIED = ("AccessDeniedException", "AccessDenied")


class KmsKey:
    """A private key, as far as signing goes. `key`: `awskms:///` and an id, an ARN or an alias.

    Credentials: boto3's own chain. Raises BadInput for a key of another kind, RemoteFailed when KMS
    can't be asked or does not sign.
    """

    def __init__(self, key: str) -> None:
        self._id = key.removeprefix(SCHEME)
        region = self._id.split(":")[3] if self._id.count(":") > 3 else None
        retries = {"mode": "standard", "total_max_attempts": 5}
        config = Config(retries=retries, connect_timeout=5, read_timeout=20)
        with _kms_errors(self._id):
            session = boto3.session.Session()
            self._client: Any = session.client("kms", region_name=region, config=config)
            found = self._client.get_public_key(KeyId=self._id)
        loaded = serialization.load_der_public_key(found["PublicKey"])
        algorithms = found.get("SigningAlgorithms", ())
        curve = loaded.curve.name if isinstance(loaded, ec.EllipticCurvePublicKey) else None
        if curve != "secp256r1" or _ALGORITHM not in algorithms:
            said = f"{found.get('KeyUsage')}, {', '.join(algorithms) or 'no signatures'}"
            hint = "aws kms create-key --key-spec ECC_NIST_P256 --key-usage SIGN_VERIFY"
            raise BadInput(f"the KMS key {self._id} can't sign versions: {said}", hint=hint)
        self._public = cast(ec.EllipticCurvePublicKey, loaded)

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._public

    def sign(self, content: bytes, algorithm: ec.ECDSA) -> bytes:
        """An ECDSA signature in DER; the content goes to KMS as its SHA-256."""
        with _kms_errors(self._id):
            answer = self._client.sign(
                KeyId=self._id,
                Message=hashlib.sha256(content).digest(),
                MessageType="DIGEST",
                SigningAlgorithm=_ALGORITHM,
            )
        return bytes(answer["Signature"])


@contextlib.contextmanager
def _kms_errors(key: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        said = error.response.get("Error", {})
        action = f"kms:{error.operation_name}"
        message = f"KMS refused {action} with {key}: {said.get('Code')}: {said.get('Message')}"
        hint = f"aws kms describe-key --key-id {key}"
        if said.get("Code") in _DENIED:
            hint = f"allow {action} to this role, as deploy/iam/publisher.json does"
        raise RemoteFailed(message, hint=hint) from None
    except BotoCoreError as error:
        hint = "aws sts get-caller-identity   # do the credentials and the region work?"
        raise RemoteFailed(f"KMS could not be asked: {error}", hint=hint) from None
