"""Whether a version's signature is good enough for the environment that wants to use it.

A signature counts when a key the environment trusts made it over exactly the files of the version.
Where unsigned versions are allowed and no key is named, a signature nobody can check is no worse
than none; one that speaks of other files is refused everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tslc.domain.manifest import Manifest
from tslc.domain.settings_model import EnvironmentSettings
from tslc.domain.store_manifest import Kind, StoreManifest, stored_files
from tslc.errors import Refused


@dataclass(frozen=True)
class Version:
    """What is to be used. `files`: SHA-256 in hex by path. `named_inside`: model and version stand
    in a file of it, as pull, verify and register have seen, so that another version's signature
    can't be over the same files."""

    model: str
    version: str
    files: Mapping[str, str]
    named_inside: bool

    def __str__(self) -> str:
        return f"{self.model} {self.version}"

    @classmethod
    def stored(cls, manifest: StoreManifest) -> Version:
        files = {path: entry.sha256 for path, entry in manifest.files.items()}
        return cls(manifest.model, manifest.version, files, manifest.kind is Kind.TSLC)

    @classmethod
    def built(cls, manifest: Manifest) -> Version:
        """An archive that tslc built, and its weights, wherever they lie."""
        files = {path: entry.sha256 for path, entry in stored_files(manifest).items()}
        return cls(manifest.model, manifest.version, files, named_inside=True)


Check = Callable[[Version, bytes | None], str]
"""Whether a version with that signature may be used: raises Refused, or says why it may."""


@dataclass(frozen=True)
class Broken:
    """A signature that can't be read, or that its key did not make; `problem` says why."""

    problem: str


@dataclass(frozen=True)
class Signature:
    """What a signature says. `key`: 64 hex digits that name the public key. `subject`: what it
    calls the signed files. `verified_by`: the file of the trusted key that made it, or None."""

    key: str
    subject: str
    files: Mapping[str, str]
    verified_by: Path | None


def judge(
    environment: EnvironmentSettings, version: Version, signature: Signature | Broken | None
) -> str:
    """Why the version may be used, in a few words. Raises Refused: each reason has its message."""
    match signature:
        case None:
            return _unsigned(environment, version)
        case Broken():
            message = f"the signature of {version} is broken: {signature.problem}"
            raise Refused(message, hint=_PUSH_AGAIN)
        case Signature():
            _expect_content(version, signature)
            return _signed(environment, version, signature)


_PUSH_AGAIN = "give it a new version, and sign that: tslc push ARCHIVE --sign KEY"


def _unsigned(environment: EnvironmentSettings, version: Version) -> str:
    if environment.allow_unsigned:
        return f"unsigned, which {environment.name} allows"
    raise Refused(
        f"{version} is not signed, and {environment.name} takes signed versions only",
        hint="tslc push ARCHIVE --sign KEY   # adds a signature to a version that is there",
    )


def _expect_content(version: Version, signature: Signature) -> None:
    named = signature.subject == f"{version.model}-{version.version}"
    if not named and not version.named_inside:
        raise Refused(
            f"the signature of {version} is that of {signature.subject!r}", hint=_PUSH_AGAIN
        )
    if signature.files != version.files:
        paths = sorted(
            path
            for path in {*signature.files, *version.files}
            if signature.files.get(path) != version.files.get(path)
        )
        more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
        shown = ", ".join(paths[:3])
        raise Refused(
            f"the signature of {version} is over other content: {shown}{more}", hint=_PUSH_AGAIN
        )


def _signed(environment: EnvironmentSettings, version: Version, signature: Signature) -> str:
    key = f"key {signature.key[:16]}…"
    if signature.verified_by is not None:
        return f"signed by {signature.verified_by.name} ({key})"
    if environment.allow_unsigned and not environment.trusted_keys:
        return f"signed by {key}, which nobody here vouches for; {environment.name} allows unsigned"
    raise Refused(
        f"{version} is signed by {key}, which {environment.name} does not trust",
        hint=f"environments.{environment.name}.trusted_keys in tslc.yaml names those it does",
    )
