"""Whether a version's signature is good enough for the environment that wants to use it, and how
one is made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tslc.domain.settings import Settings
from tslc.domain.store_layout import MANIFEST, SIGNATURE
from tslc.domain.store_manifest import Kind, StoreManifest
from tslc.domain.trust import Check, Version, judge
from tslc.verbs.push import Sign

KMS = "awskms:///"


def checker(settings: Settings) -> Check:
    """The check of the settings' environment: why a version may be used, or Refused."""
    environment = settings.environment()

    def check(version: Version, signature: bytes | None) -> str:
        read = None
        if signature is not None:
            # The library takes a while to load; most pulls of a laptop are unsigned.
            from tslc.adapters.signing import read_signature

            read = read_signature(signature, environment.trusted_keys)
        return judge(environment, version, read)

    return check


def unchecked(version: Version, signature: bytes | None) -> str:
    """The check where no environment is concerned: a quick run of what lies on this machine."""
    return "not checked"


def signer(key: str) -> Sign:
    """Signs with a private key's file, or with `awskms:///KEY`. Raises BadInput, RemoteFailed."""
    from tslc.adapters import signing

    if key.startswith(KMS):
        from tslc.adapters.kms_signing import KmsKey

        made = signing.signer_of(KmsKey(key))
    else:
        made = signing.signer_of_file(Path(key))

    def sign(manifest: StoreManifest) -> bytes:
        version = Version.stored(manifest)
        subject = f"{version.model}-{version.version}"
        return signing.sign(version.files, subject, unsigned_files(manifest), made)

    return sign


def unsigned_files(manifest: StoreManifest) -> Sequence[str]:
    """What `tslc pull` puts beside the signed files: made of them, or about them."""
    beside = [MANIFEST, SIGNATURE]
    if manifest.kind is Kind.TSLC:
        beside += [f"{manifest.model}-{manifest.version}{end}" for end in (".mar", ".tar.gz")]
    return beside
