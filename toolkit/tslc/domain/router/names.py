"""What things are called in Envoy's files: clusters, filters, internal headers.

No model and no version holds `@`, `>` or `~`, so that no two clusters share a name.
"""

from __future__ import annotations

from collections.abc import Iterable

from tslc.domain.router.table import UpstreamName

ROUTES = "routes"
LISTENER = "router"
CERTIFICATE = "certificate"
# Filters, in the order a request meets them.
KEY_FILTER = "tslc.key"
AUTH_FILTER = "tslc.auth"
RATE_FILTER = "tslc.rate"
SIZE_FILTER = "tslc.size"
MODEL_FILTER = "tslc.model"
USER_FILTER = "tslc.user"
# Metadata of endpoints and of requests; `MODEL_KEY` of the latter is what the body says.
METADATA = "tslc"
MODEL_KEY = "asked"
# How far a request has come, for the words of a refusal.
STAGE = "stage"
STAGE_KEY = "key"
STAGE_ROUTE = "route"
# Headers a client may send, and those of the router itself, which no client and no worker sees.
VERSION_HEADER = "x-tslc-version"
MODEL_HEADER = "x-tslc-model"
KEY_HEADER = "x-tslc-key-sha256"
USER_HEADER = "x-tslc-user"
# Of an answer the router made itself, until it is sent: no version has answered.
OWN_HEADER = "x-tslc-own"
BRIDGE_HEADER = "x-tslc-bridge-version"


def version_cluster(name: UpstreamName) -> str:
    """One version's workers; also the name of its endpoints."""
    return f"{name.model}@{name.version}"


def shadow_cluster(name: UpstreamName) -> str:
    """The same workers, for requests whose answers nobody sees."""
    return f"{version_cluster(name)}~shadow"


def chain_cluster(model: str, versions: Iterable[str]) -> str:
    """The first version that can answer. A chain's name says all of it: it never changes."""
    return f"{model}@{'>'.join(versions)}"


def chain(version: str, spare: Iterable[str]) -> tuple[str, ...]:
    """Where a request for `version` goes, first to last."""
    return (version, *(one for one in dict.fromkeys(spare) if one != version))
