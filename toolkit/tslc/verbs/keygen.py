"""`tslc keygen`: a key pair to sign versions with, or the public half of a key in KMS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tslc.adapters import signing
from tslc.errors import BadInput


@dataclass(frozen=True)
class KeyPair:
    """`private` is None for a key in KMS; `key` names the public one, as signatures do."""

    private: Path | None
    public: Path
    key: str


def keygen(name: Path) -> KeyPair:
    """Make NAME.key (mode 0600) and NAME.pub. Raises Refused when one of them exists."""
    private, public = _file(name, ".key"), _file(name, ".pub")
    return KeyPair(private, public, signing.make_key_pair(private, public))


def _file(name: Path, end: str) -> Path:
    """Raises BadInput for a path that ends in no name."""
    if name.name in ("", ".."):
        raise BadInput(f"{str(name)!r} is no name for a key", hint="tslc keygen keys/release")
    return name.with_name(f"{name.name}{end}")


def public_key_of(key: str, name: Path) -> KeyPair:
    """Write the public half of a KMS key to NAME.pub. Raises Refused, RemoteFailed."""
    from tslc.adapters.kms_signing import KmsKey

    public = _file(name, ".pub")
    found = KmsKey(key).public_key()
    signing.write_public_key(found, public)
    return KeyPair(None, public, signing.key_name(found))
