"""The form of Envoy's files: a DiscoveryResponse, whose version is the digest of its resources.

By that version one can tell what exactly Envoy has taken.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# JSON as it is written; a document is built once and rendered at once.
Json = Mapping[str, object]

_TYPES = "type.googleapis.com/"
CLUSTER = f"{_TYPES}envoy.config.cluster.v3.Cluster"
ENDPOINTS = f"{_TYPES}envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = f"{_TYPES}envoy.config.listener.v3.Listener"
ROUTES = f"{_TYPES}envoy.config.route.v3.RouteConfiguration"
SECRET = f"{_TYPES}envoy.extensions.transport_sockets.tls.v3.Secret"


@dataclass(frozen=True)
class Discovery:
    """A file's content and its version."""

    content: str
    version: str


def discovery(kind: str, resources: Sequence[Json]) -> Discovery:
    """Resources of one type, in the given order."""
    typed = [{"@type": kind, **one} for one in resources]
    version = hashlib.sha256(_dumps(typed).encode()).hexdigest()[:32]
    document = {"version_info": version, "type_url": kind, "resources": typed}
    return Discovery(_dumps(document) + "\n", version)


def version_of(content: str) -> str | None:
    """The version a file says it has; None when it is no such file."""
    try:
        document = json.loads(content)
    except ValueError:
        return None
    version = document.get("version_info") if isinstance(document, dict) else None
    return version if isinstance(version, str) else None


def from_file(path: Path) -> Json:
    """A config source: the file, read again whenever another is renamed over it."""
    return {"path_config_source": {"path": str(path)}, "resource_api_version": "V3"}


def typed(kind: str, **fields: object) -> Json:
    """An Any of the type `envoy.<kind>`."""
    return {"@type": f"{_TYPES}envoy.{kind}", **fields}


def seconds(value: float) -> str:
    return f"{value:g}s"


def _dumps(document: object) -> str:
    return json.dumps(document, separators=(",", ":"), sort_keys=True)
