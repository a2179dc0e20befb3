"""Metrics of what Envoy says of its clusters, and of what it answered by itself.

A request is counted where its route led: at a version's own cluster, or at the chain that begins
with it. So it belongs to the version that was drawn, also when another one had to answer. What is
sent to workers is counted at the version whose workers they are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from tslc.domain.node_metrics.catalogue import (
    ROUTER_ACTIVE,
    ROUTER_ATTEMPTS,
    ROUTER_CONNECT_FAILURES,
    ROUTER_HEALTHY,
    ROUTER_REFUSED,
    ROUTER_REQUESTS,
    ROUTER_RETRIES,
    ROUTER_SECONDS,
    ROUTER_SHADOWED,
    ROUTER_UP,
)
from tslc.domain.node_metrics.family import Family, Metric, Sample
from tslc.domain.node_metrics.ledger import Reading, Series
from tslc.domain.router.names import shadow_cluster
from tslc.domain.router.table import UpstreamName

# The statistics that are read, as a pattern for Envoy's admin interface.
STATS = (
    r"^cluster\..*\.(membership_healthy|upstream_rq_([1-5]xx|active|retry|total|time)"
    r"|upstream_cx_connect_fail)$"
)
CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")
# Upper bounds in seconds: those of the workers' histograms.
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
# What the router always tells, so that a rate has a beginning.
REFUSALS = ("400", "401", "403", "404", "413", "429", "503")

_HEALTHY = "membership_healthy"
SUM = "sum"
_SHADOW = shadow_cluster(UpstreamName("", "")).removeprefix("@")


@dataclass(frozen=True)
class Bin:
    """Milliseconds from `lower` on, less than `lower + width`."""

    lower: float
    width: float
    count: int


@dataclass(frozen=True)
class EnvoyStats:
    """By Envoy's names."""

    numbers: Mapping[str, int] = field(default_factory=dict)
    histograms: Mapping[str, tuple[Bin, ...]] = field(default_factory=dict)

    @classmethod
    def parse(cls, content: bytes) -> EnvoyStats:
        """`/stats?format=json&histogram_buckets=detailed`; raises ValueError."""
        numbers, histograms = {}, {}
        try:
            for one in json.loads(content)["stats"]:
                if "histograms" in one:
                    for each in one["histograms"].get("details", ()):
                        histograms[str(each["name"])] = tuple(_bins(each.get("totals", ())))
                elif isinstance(one["value"], int):
                    numbers[str(one["name"])] = one["value"]
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"not Envoy's statistics: {error!r}") from error
        return cls(numbers, histograms)

    @property
    def clusters(self) -> tuple[str, ...]:
        """Scopes below a cluster have no members."""
        end = f".{_HEALTHY}"
        return tuple(
            name.removeprefix("cluster.").removesuffix(end)
            for name in self.numbers
            if name.endswith(end)
        )

    def number(self, cluster: str, name: str) -> int:
        return self.numbers.get(f"cluster.{cluster}.{name}", 0)


def _bins(found: Iterable[Mapping[str, float]]) -> Iterator[Bin]:
    for one in found:
        yield Bin(float(one["lower_bound"]), float(one["width"]), int(one["count"]))


# --- what only grows -----------------------------------------------------------------------------


def readings(stats: EnvoyStats) -> Iterator[Reading]:
    for cluster in stats.clusters:
        model, at, rest = cluster.partition("@")
        if not at:
            continue
        if rest.endswith(_SHADOW):
            drawn = (model, rest.removesuffix(_SHADOW))
            yield from _by_class(stats, cluster, ROUTER_SHADOWED, drawn)
            continue
        drawn = (model, rest.split(">")[0])
        yield from _by_class(stats, cluster, ROUTER_REQUESTS, drawn)
        yield from _seconds(stats, cluster, drawn)
        yield _count(stats, cluster, "upstream_rq_retry", ROUTER_RETRIES, drawn)
        if ">" not in rest:
            yield _count(stats, cluster, "upstream_rq_total", ROUTER_ATTEMPTS, drawn)
            failed = "upstream_cx_connect_fail"
            yield _count(stats, cluster, failed, ROUTER_CONNECT_FAILURES, drawn)


def _by_class(
    stats: EnvoyStats, cluster: str, family: Family, drawn: tuple[str, str]
) -> Iterator[Reading]:
    for code_class in CLASSES:
        value = stats.number(cluster, f"upstream_rq_{code_class}")
        series = (family.name, *drawn, code_class)
        yield Reading(f"{cluster} {code_class}", series, value)


def _count(
    stats: EnvoyStats, cluster: str, name: str, family: Family, drawn: tuple[str, str]
) -> Reading:
    return Reading(f"{cluster} {name}", (family.name, *drawn), stats.number(cluster, name))


def _seconds(stats: EnvoyStats, cluster: str, drawn: tuple[str, str]) -> Iterator[Reading]:
    """One reading for each bucket, its own count alone, and one for the sum.

    Envoy keeps two digits of each duration: a bin's middle stands for what is in it.
    """
    bins = stats.histograms.get(f"cluster.{cluster}.upstream_rq_time", ())
    counts = dict.fromkeys((*BOUNDS, math.inf), 0)
    for one in bins:
        upper = (one.lower + one.width) / 1000
        counts[next((bound for bound in BOUNDS if upper <= bound), math.inf)] += one.count
    total = sum((one.lower + one.width / 2) * one.count for one in bins) / 1000
    for bound, count in counts.items():
        series = (ROUTER_SECONDS.name, *drawn, _le(bound))
        yield Reading(f"{cluster} le {bound}", series, count)
    yield Reading(f"{cluster} seconds", (ROUTER_SECONDS.name, *drawn, SUM), total)


def _le(bound: float) -> str:
    return "+Inf" if math.isinf(bound) else str(bound)


# --- what is told --------------------------------------------------------------------------------


def of_router(stats: EnvoyStats | None, totals: Mapping[Series, float]) -> Iterator[Metric]:
    """`stats` None: it does not answer; what it counted until then is told all the same."""
    yield ROUTER_UP.of(ROUTER_UP.sample(stats is not None))
    counters = (ROUTER_REQUESTS, ROUTER_ATTEMPTS, ROUTER_RETRIES, ROUTER_CONNECT_FAILURES)
    for family in (*counters, ROUTER_SHADOWED, ROUTER_REFUSED):
        found = sorted((one, value) for one, value in totals.items() if one[0] == family.name)
        yield family.of(*(family.sample(value, *labels) for (_, *labels), value in found))
    yield _histogram(totals)
    if stats is not None:
        yield _gauge(ROUTER_ACTIVE, stats, "upstream_rq_active")
        yield _gauge(ROUTER_HEALTHY, stats, _HEALTHY)


def _gauge(family: Family, stats: EnvoyStats, name: str) -> Metric:
    versions = [one for one in stats.clusters if "@" in one and not {">", "~"} & set(one)]
    return family.of(
        *(family.sample(stats.number(one, name), *one.split("@", 1)) for one in sorted(versions))
    )


def _histogram(totals: Mapping[Series, float]) -> Metric:
    name = ROUTER_SECONDS.name
    versions = sorted({(one[1], one[2]) for one in totals if one[0] == name})
    samples: list[Sample] = []
    for model, version in versions:
        labels, below = {"model": model, "version": version}, 0.0
        for bound in (*BOUNDS, math.inf):
            below += totals.get((name, model, version, _le(bound)), 0.0)
            samples.append(Sample(f"{name}_bucket", {**labels, "le": _le(bound)}, below))
        total = totals.get((name, model, version, SUM), 0.0)
        samples += [Sample(f"{name}_count", labels, below), Sample(f"{name}_sum", labels, total)]
    return ROUTER_SECONDS.of(*samples)


# --- what it answered by itself ------------------------------------------------------------------

# Of a line of the access log: no worker began to answer. A version may be named all the same, the
# last one that was tried. In a JSON string the quotes would be escaped.
_NO_ANSWER = b'"first_byte_ms":null'


def refusal(line: bytes) -> str | None:
    """The status of an error the router answered with by itself; None for any other line."""
    if _NO_ANSWER not in line:
        return None
    try:
        status = json.loads(line)["status"]
    except (ValueError, LookupError, TypeError):
        return None
    return str(status) if isinstance(status, int) and status >= 400 else None
