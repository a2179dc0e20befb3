"""What Envoy says of itself, and whether that is what it was asked for.

It acknowledges by version: a file it refused leaves its earlier version in force, and the one
asked for does not appear.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tslc.domain.router.files import Wanted
from tslc.domain.router.names import LISTENER, ROUTES
from tslc.domain.router.table import UpstreamName

# The statistics this module reads, as a pattern for Envoy's admin interface.
STATS = (
    r"(version_text|warming_state|membership_healthy|membership_total|upstream_rq_active"
    r"|total_listeners_active)$"
)
_CLUSTERS = "cluster_manager.cds.version_text"
_ROUTES = f"http.{LISTENER}.rds.{ROUTES}.version_text"
_LISTENERS = "listener_manager.total_listeners_active"
_LINE = re.compile(r"\[([0-9-]+ [0-9:.]+)\](?:\[[^]]*\])*\s*(?:\[[^]]*\]\s*)?(.*)")
# What follows in an entry is the refused message itself.
_PRINTED = "goo.gle/"
# Before each cause in a row of them; the last one says it.
_CAUSE = " | caused by "
_LONGEST = 400
_REFUSED = re.compile(r"reject|failed to load|Unable to|error adding|cannot bind", re.IGNORECASE)


@dataclass(frozen=True)
class ClusterSeen:
    """A version's cluster. `warm`: Envoy has it and routes may lead there; `healthy` of its `hosts`
    get requests; `requests` are on them; `endpoints`: the version of these."""

    warm: bool = False
    healthy: int = 0
    hosts: int = 0
    requests: int = 0
    endpoints: str = ""


@dataclass(frozen=True)
class RouterState:
    """`reachable`: the admin interface answers; `listening`: clients can connect.

    `clusters_version` and `routes_version` are in force; `rejected`: what Envoy said of what it did
    not take, while there is such. `clusters` by name.
    """

    reachable: bool = False
    listening: bool = False
    wanted: Wanted = field(default_factory=Wanted)
    clusters_version: str = ""
    routes_version: str = ""
    clusters: Mapping[str, ClusterSeen] = field(default_factory=dict)
    rejected: tuple[str, ...] = ()
    unreachable_because: str = ""

    @property
    def upstreams_taken(self) -> bool:
        """Every cluster and every endpoint is as it was published last, and ready for routes."""
        return (
            self.reachable
            and bool(self.wanted.clusters)
            and self.clusters_version == self.wanted.clusters
            and all(
                (seen := self.cluster(name)).warm and seen.endpoints == version
                for name, version in self.wanted.endpoints
            )
        )

    @property
    def routes_taken(self) -> bool:
        return self.reachable and bool(self.wanted.routes) and self._has_wanted_routes

    @property
    def _has_wanted_routes(self) -> bool:
        return self.routes_version == self.wanted.routes

    @property
    def active(self) -> frozenset[UpstreamName]:
        """Upstreams with an endpoint that may get requests."""
        found = (
            upstream_of(name) for name, one in self.clusters.items() if one.warm and one.healthy
        )
        return frozenset(name for name in found if name is not None)

    def active_requests(self, name: UpstreamName) -> int:
        return self.cluster(f"{name.model}@{name.version}").requests

    def cluster(self, name: str) -> ClusterSeen:
        return self.clusters.get(name, ClusterSeen())

    def has_clusters(self, names: Iterable[str]) -> bool:
        return all(self.cluster(name).warm for name in names)

    @property
    def problem(self) -> str:
        """Why it is not as it should be, in words; empty when Envoy has complained of nothing."""
        if not self.reachable:
            return self.unreachable_because
        return "; ".join(self.rejected)


def upstream_of(cluster: str) -> UpstreamName | None:
    """The version a cluster is of; None for a chain and a shadow."""
    model, at, version = cluster.partition("@")
    return UpstreamName(model, version) if at and not {">", "~"} & set(version) else None


def read_state(
    stats: Mapping[str, int | str], wanted: Wanted, log: Iterable[str], since: datetime | None
) -> RouterState:
    """`log`: Envoy's last lines; what it said before `since`, when something was published last, is
    of the past."""
    state = RouterState(
        reachable=True,
        listening=_number(stats, _LISTENERS) > 0,
        wanted=wanted,
        clusters_version=_text(stats, _CLUSTERS),
        routes_version=_text(stats, _ROUTES),
        clusters=_clusters(stats),
    )
    fine = state.upstreams_taken and state.routes_taken and state.listening
    rejected = () if fine else refusals(log, since)
    return RouterState(**{**vars(state), "rejected": rejected})


def refusals(log: Iterable[str], since: datetime | None) -> tuple[str, ...]:
    """What the log says was not taken, each once.

    Envoy prints what it refused, secrets and all, between the first line of an entry and a last one
    that begins with a colon: that is left out.
    """
    found = []
    for at, lines in _entries(log):
        if _REFUSED.search(lines[0]) and (since is None or at >= since):
            head = lines[0].partition(_PRINTED)[0].strip(" :")
            tail = lines[-1] if len(lines) > 1 and lines[-1].startswith(":") else ""
            cause = tail.removeprefix(": ").rpartition(_CAUSE)[2]
            found.append(f"{head}: {cause}"[:_LONGEST] if cause else head[:_LONGEST])
    return tuple(dict.fromkeys(found))


def _entries(log: Iterable[str]) -> list[tuple[datetime, list[str]]]:
    """The log's entries: when, and their lines."""
    entries: list[tuple[datetime, list[str]]] = []
    for line in log:
        if match := _LINE.match(line):
            at = datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S.%f")
            entries.append((at, [match[2]]))
        elif entries:
            entries[-1][1].append(line)
    return entries


def _clusters(stats: Mapping[str, int | str]) -> dict[str, ClusterSeen]:
    names = {
        key.removeprefix("cluster.").removesuffix(".warming_state")
        for key in stats
        if key.startswith("cluster.") and key.endswith(".warming_state")
    }
    return {name: _cluster(stats, f"cluster.{name}") for name in names}


def _cluster(stats: Mapping[str, int | str], prefix: str) -> ClusterSeen:
    return ClusterSeen(
        warm=_number(stats, f"{prefix}.warming_state", 1) == 0,
        healthy=_number(stats, f"{prefix}.membership_healthy"),
        hosts=_number(stats, f"{prefix}.membership_total"),
        requests=_number(stats, f"{prefix}.upstream_rq_active"),
        endpoints=_text(stats, f"{prefix}.version_text"),
    )


def _number(stats: Mapping[str, int | str], name: str, absent: int = 0) -> int:
    found = stats.get(name, absent)
    return found if isinstance(found, int) else absent


def _text(stats: Mapping[str, int | str], name: str) -> str:
    return str(stats.get(name, ""))
