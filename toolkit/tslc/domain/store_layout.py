"""Where things lie in a store, below its bucket and prefix, and what a key found there is.

    blobs/sha256/<hex>                       content, by its SHA-256; uploaded once
    models/<model>/<version>/manifest.json   immutable: the version exists when this does
    models/<model>/<version>/signature.json  an OpenSSF model signing bundle
    environments/<env>/state.json                 what is to be served: generation N
    environments/<env>/history/<generation>.json  what it was, immutable
    environments/<env>/nodes/<node>.json          what a node reports
    environments/<env>/releases/<model>.json      a model's last release, and how far it is
    environments/<env>/jobs/<model>.json          the last job of a pipeline's release

Law: `read_key(key_of(place)) == place`. A key of another form is nobody's: tslc leaves it alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tslc.domain.archive_name import model_name_problem, version_problem

BLOBS = "blobs/sha256/"
MODELS = "models/"
ENVIRONMENTS = "environments/"
MANIFEST = "manifest.json"
SIGNATURE = "signature.json"
ARCHIVE = "archive/"
WEIGHTS = "weights/"
FOREIGN_ARCHIVE = "archive.mar"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HISTORY = re.compile(r"/history/([0-9]{10})\.json$")


@dataclass(frozen=True)
class BlobKey:
    """64 hex digits of SHA-256."""

    sha256: str


@dataclass(frozen=True)
class ManifestKey:
    model: str
    version: str


@dataclass(frozen=True)
class SignatureKey:
    model: str
    version: str


Place = BlobKey | ManifestKey | SignatureKey


def blob_key(sha256: str) -> str:
    return f"{BLOBS}{sha256}"


def version_prefix(model: str, version: str) -> str:
    return f"{MODELS}{model}/{version}/"


def manifest_key(model: str, version: str) -> str:
    return version_prefix(model, version) + MANIFEST


def signature_key(model: str, version: str) -> str:
    return version_prefix(model, version) + SIGNATURE


def state_key(environment: str) -> str:
    return f"{ENVIRONMENTS}{environment}/state.json"


def history_prefix(environment: str) -> str:
    return f"{ENVIRONMENTS}{environment}/history/"


def history_key(environment: str, generation: int) -> str:
    """In the order of generations, as long as these have at most ten digits."""
    return f"{history_prefix(environment)}{generation:010d}.json"


def history_generation(key: str) -> int | None:
    """The generation of an entry's key; None when it is none. Law: it undoes `history_key`."""
    match = _HISTORY.search(key)
    return int(match[1]) if match else None


def nodes_prefix(environment: str) -> str:
    return f"{ENVIRONMENTS}{environment}/nodes/"


def node_key(environment: str, node: str) -> str:
    return f"{nodes_prefix(environment)}{node}.json"


def release_key(environment: str, model: str) -> str:
    return f"{ENVIRONMENTS}{environment}/releases/{model}.json"


def jobs_prefix(environment: str) -> str:
    return f"{ENVIRONMENTS}{environment}/jobs/"


def job_key(environment: str, model: str) -> str:
    return f"{jobs_prefix(environment)}{model}.json"


def key_of(place: Place) -> str:
    match place:
        case BlobKey(sha256):
            return blob_key(sha256)
        case ManifestKey(model, version):
            return manifest_key(model, version)
        case SignatureKey(model, version):
            return signature_key(model, version)


def read_key(key: str) -> Place | None:
    """What lies at a key; None for a key that tslc would not write."""
    if key.startswith(BLOBS):
        sha256 = key.removeprefix(BLOBS)
        return BlobKey(sha256) if _SHA256.fullmatch(sha256) else None
    match key.split("/"):
        case ["models", model, version, name] if _named(model, version):
            if name == MANIFEST:
                return ManifestKey(model, version)
            if name == SIGNATURE:
                return SignatureKey(model, version)
    return None


def _named(model: str, version: str) -> bool:
    return not (model_name_problem(model) or version_problem(version))
