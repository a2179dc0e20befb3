"""Where Envoy may send requests: a cluster for each version, and chains of them.

A version's workers are asked for their health each second, and left alone at once after a failed
connection; what an engine answers, 5xx included, is no reason to. Where no worker of a version is
healthy, none is asked (no panic mode): a chain goes on to its next version.
"""

from __future__ import annotations

from collections.abc import Iterable

from tslc.domain.router.discovery import (
    CLUSTER,
    ENDPOINTS,
    Discovery,
    Json,
    discovery,
    from_file,
    seconds,
    typed,
)
from tslc.domain.router.names import METADATA, chain_cluster, shadow_cluster, version_cluster
from tslc.domain.router.settings import RouterPaths, RouterSettings
from tslc.domain.router.table import Upstream, UpstreamName

# A busy engine may be slow to say that it is well; a dead one is noticed by the refused connection.
_HEALTH_TIMEOUT = 5.0
_HEALTH_EVERY = 1.0
_EJECTED_SECONDS = 5.0
_CONNECT_SECONDS = 2.0
# Percent of a version's workers that may be away before the rest counts as too few.
_ONE_IS_ENOUGH = 1_000_000
# Idle connections are closed here before the worker does it.
_IDLE_SECONDS = 3600
_BRIDGE_IDLE_SECONDS = 30

Chain = tuple[str, tuple[str, ...]]
"""A model and its versions, in the order they are asked."""


def render_clusters(
    upstreams: Iterable[Upstream],
    chains: Iterable[Chain],
    paths: RouterPaths,
    settings: RouterSettings,
) -> Discovery:
    resources: list[Json] = []
    for one in sorted(upstreams, key=lambda one: one.name):
        eds = version_cluster(one.name)
        resources += [
            _version(one, eds, settings.max_requests, paths),
            _version(one, shadow_cluster(one.name), settings.shadow_requests, paths),
        ]
    limit = settings.max_requests
    resources += [_chain(model, versions, limit) for model, versions in sorted(set(chains))]
    return discovery(CLUSTER, resources)


def render_endpoints(upstream: Upstream, settings: RouterSettings) -> Discovery:
    """The version's doors, or TorchServe's frontend for one behind the bridge."""
    about = {"model": upstream.name.model, "version": upstream.name.version}
    endpoints = [
        {
            "endpoint": {"address": address},
            "metadata": {"filter_metadata": {METADATA: about}},
        }
        for address in _addresses(upstream, settings)
    ]
    assignment = {
        "cluster_name": version_cluster(upstream.name),
        "endpoints": [{"lb_endpoints": endpoints}] if endpoints else [],
        # A version keeps all its requests while one of its workers is well.
        "policy": {"overprovisioning_factor": 100_000},
    }
    return discovery(ENDPOINTS, [assignment])


def _addresses(upstream: Upstream, settings: RouterSettings) -> list[Json]:
    if upstream.bridge:
        port = settings.bridge_port
        return [{"socket_address": {"address": "127.0.0.1", "port_value": port}}] if port else []
    return [{"pipe": {"path": str(door)}} for door in sorted(upstream.doors)]


def _version(upstream: Upstream, name: str, limit: int, paths: RouterPaths) -> Json:
    eds = version_cluster(upstream.name)
    checks = {} if upstream.bridge else {"health_checks": [_health_check()]}
    return {
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {
            "service_name": eds,
            "eds_config": from_file(paths.endpoints_of(eds)),
        },
        "connect_timeout": seconds(_CONNECT_SECONDS),
        "lb_policy": "LEAST_REQUEST",
        "ignore_health_on_host_removal": True,
        "common_lb_config": {
            "healthy_panic_threshold": {"value": 0},
            # Else Envoy's threads may hear a second later that a worker came or died.
            "update_merge_window": "0s",
        },
        "outlier_detection": _outlier_detection(),
        "circuit_breakers": {"thresholds": [_thresholds(limit)]},
        "typed_extension_protocol_options": _protocol(upstream),
        **checks,
    }


def _health_check() -> Json:
    every = seconds(_HEALTH_EVERY)
    return {
        "timeout": seconds(_HEALTH_TIMEOUT),
        "interval": every,
        "no_traffic_interval": every,
        "no_traffic_healthy_interval": every,
        "unhealthy_threshold": 1,
        "healthy_threshold": 1,
        "http_health_check": {"path": "/health", "host": "router"},
    }


def _outlier_detection() -> Json:
    """A failed connection ejects; whatever was answered does not."""
    return {
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": 1,
        "enforcing_consecutive_local_origin_failure": 100,
        "enforcing_local_origin_success_rate": 0,
        "enforcing_consecutive_5xx": 0,
        "enforcing_consecutive_gateway_failure": 0,
        "enforcing_success_rate": 0,
        "enforcing_failure_percentage": 0,
        "max_ejection_percent": 100,
        "interval": "1s",
        "base_ejection_time": seconds(_EJECTED_SECONDS),
        "max_ejection_time": seconds(_EJECTED_SECONDS),
    }


def _thresholds(limit: int) -> Json:
    """All requests of a dead worker may be retried at once."""
    return {
        "max_connections": limit,
        "max_pending_requests": limit,
        "max_requests": limit,
        "max_retries": limit,
    }


def _protocol(upstream: Upstream) -> Json:
    idle = _BRIDGE_IDLE_SECONDS if upstream.bridge else _IDLE_SECONDS
    options = typed(
        "extensions.upstreams.http.v3.HttpProtocolOptions",
        common_http_protocol_options={"idle_timeout": seconds(idle)},
        explicit_http_config={"http_protocol_options": {}},
    )
    return {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options}


def _chain(model: str, versions: tuple[str, ...], limit: int) -> Json:
    names = [version_cluster(UpstreamName(model, version)) for version in versions]
    config = typed("extensions.clusters.aggregate.v3.ClusterConfig", clusters=names)
    return {
        "name": chain_cluster(model, versions),
        "connect_timeout": seconds(_CONNECT_SECONDS),
        "lb_policy": "CLUSTER_PROVIDED",
        # Retries are counted here, all else at the version that answers.
        "circuit_breakers": {"thresholds": [_thresholds(limit)]},
        "cluster_type": {"name": "envoy.clusters.aggregate", "typed_config": config},
    }
