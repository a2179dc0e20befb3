"""How many requests a version had and how long they took: what nodes report and releases judge.

The counts are the router's, of the requests that were drawn for the version, as in docs/metrics.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tslc.domain.node_metrics.catalogue import ROUTER_REQUESTS, ROUTER_SECONDS
from tslc.domain.node_metrics.of_router import SUM
from tslc.domain.router.table import UpstreamName

_ERRORS = "5xx"
_IGNORE_NEWER = {"extra": "ignore"}
Counts = Mapping[str, int]


@dataclass(frozen=True)
class Traffic:
    """Since its node's agent began. `answers`: by the class of their status; `seconds`: by the
    least upper bound of theirs, as Prometheus writes it, each its own count alone."""

    __pydantic_config__ = _IGNORE_NEWER

    answers: Counts = field(default_factory=dict)
    seconds: Counts = field(default_factory=dict)

    @property
    def requests(self) -> int:
        return sum(self.answers.values())

    @property
    def errors(self) -> int:
        return self.answers.get(_ERRORS, 0)

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(
            _combined(self.answers, other.answers, 1), _combined(self.seconds, other.seconds, 1)
        )

    def since(self, earlier: Traffic) -> Traffic:
        """What came after `earlier`, of the same agent."""
        return Traffic(
            _combined(self.answers, earlier.answers, -1),
            _combined(self.seconds, earlier.seconds, -1),
        )

    def quantile(self, share: float) -> float | None:
        """An estimate in seconds, None without requests; infinite where it lies beyond the last
        bound. `share` from 0 to 1.

        As Prometheus' histogram_quantile: the requests of a bucket lie evenly between its bounds.
        """
        buckets = sorted((float(bound), count) for bound, count in self.seconds.items())
        total = sum(count for _, count in buckets)
        if total <= 0:
            return None
        wanted, below, lower = share * total, 0, 0.0
        for upper, count in buckets:
            if count and below + count >= wanted:
                if math.isinf(upper):
                    return upper
                return lower + (upper - lower) * (wanted - below) / count
            below, lower = below + count, upper
        return buckets[-1][0]


def _combined(ours: Counts, others: Counts, sign: int) -> dict[str, int]:
    keys = dict.fromkeys((*ours, *others))
    return {key: max(0, ours.get(key, 0) + sign * others.get(key, 0)) for key in keys}


def traffic_of(totals: Iterable[tuple[tuple[str, ...], float]]) -> dict[UpstreamName, Traffic]:
    """Of each version, from the totals of a node's ledger."""
    answers: dict[UpstreamName, dict[str, int]] = {}
    seconds: dict[UpstreamName, dict[str, int]] = {}
    for series, value in totals:
        match series:
            case (ROUTER_REQUESTS.name, model, version, code_class):
                answers.setdefault(UpstreamName(model, version), {})[code_class] = int(value)
            case (ROUTER_SECONDS.name, model, version, bound) if bound != SUM:
                seconds.setdefault(UpstreamName(model, version), {})[bound] = int(value)
    return {
        name: Traffic(answers.get(name, {}), seconds.get(name, {})) for name in {*answers, *seconds}
    }
