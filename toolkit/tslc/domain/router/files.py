"""The files of a router's table, and in which order they may change.

A route never leads to a cluster Envoy has not: clusters come before the routes that name them, and
go after these.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tslc.domain.router.clusters import Chain, render_clusters, render_endpoints
from tslc.domain.router.discovery import Discovery
from tslc.domain.router.model_routes import clusters_named
from tslc.domain.router.names import version_cluster
from tslc.domain.router.routes import render_routes
from tslc.domain.router.settings import RouterPaths, RouterSettings
from tslc.domain.router.table import RouterTable, Upstream


@dataclass(frozen=True)
class UpstreamFiles:
    """`endpoints` by cluster."""

    clusters: Discovery
    endpoints: Mapping[str, Discovery]


@dataclass(frozen=True)
class RouteFile:
    """`named`: the clusters that have to be there first."""

    routes: Discovery
    named: frozenset[str]


def upstream_files(
    upstreams: tuple[Upstream, ...],
    chained: tuple[Chain, ...],
    paths: RouterPaths,
    settings: RouterSettings,
) -> UpstreamFiles:
    """`chained`: of the routes in force and of those to come."""
    endpoints = {version_cluster(one.name): render_endpoints(one, settings) for one in upstreams}
    return UpstreamFiles(render_clusters(upstreams, chained, paths, settings), endpoints)


def route_file(table: RouterTable, settings: RouterSettings) -> RouteFile:
    return RouteFile(render_routes(table, settings), clusters_named(table))


@dataclass(frozen=True)
class Wanted:
    """What was asked for last, by versions: so that a restart knows whether it was carried out.

    `endpoints`: versions by cluster. `chains`: of the routes asked for last, `earlier` of those
    before, which Envoy may still have. Law: `parse(render(x)) == x`.
    """

    clusters: str = ""
    routes: str = ""
    endpoints: tuple[tuple[str, str], ...] = ()
    chains: tuple[Chain, ...] = ()
    earlier: tuple[Chain, ...] = ()

    def render(self) -> str:
        return json.dumps(vars(self), indent=1) + "\n"

    @classmethod
    def parse(cls, text: str) -> Wanted:
        """Nothing for what can't be read: it is then published anew."""
        try:
            document = json.loads(text)
            return cls(
                str(document["clusters"]),
                str(document["routes"]),
                tuple((str(name), str(version)) for name, version in document["endpoints"]),
                _parse_chains(document["chains"]),
                _parse_chains(document["earlier"]),
            )
        except (ValueError, LookupError, TypeError):
            return cls()

    def with_upstreams(self, files: UpstreamFiles) -> Wanted:
        endpoints = sorted((name, one.version) for name, one in files.endpoints.items())
        return replace(self, clusters=files.clusters.version, endpoints=tuple(endpoints))

    def settled(self, *, taken: bool) -> Wanted:
        """`taken`: Envoy has the routes asked for last, so that earlier ones need nothing more."""
        return replace(self, earlier=()) if taken else self

    def with_routes(self, version: str, chained: tuple[Chain, ...]) -> Wanted:
        if version == self.routes:
            return self
        earlier = {*self.chains, *self.earlier} - {*chained}
        return replace(self, routes=version, chains=chained, earlier=tuple(sorted(earlier)))

    @property
    def needed(self) -> tuple[Chain, ...]:
        """The chains that routes may lead to."""
        return tuple(sorted({*self.chains, *self.earlier}))


def _parse_chains(found: object) -> tuple[Chain, ...]:
    if not isinstance(found, list):
        raise TypeError("a list of chains")
    return tuple((str(model), tuple(str(one) for one in versions)) for model, versions in found)
