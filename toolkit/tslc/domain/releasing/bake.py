"""What a version's traffic came to while it baked, over all nodes, and whether its gates hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tslc.domain.release.report import Reported
from tslc.domain.release.shares import share_text
from tslc.domain.release.traffic import Traffic
from tslc.domain.releasing.plan_file import Gates
from tslc.domain.router.table import WHOLE

_NONE = Traffic()


@dataclass(frozen=True)
class Bake:
    """`since`: when it began (UTC, ISO 8601). `seen`: what each agent counted when it was looked at
    last, by the node and the agent's start; `traffic`: what came since the beginning."""

    since: str
    seen: Mapping[str, Traffic] = field(default_factory=dict)
    traffic: Traffic = _NONE

    def take(self, model: str, version: str, reported: Iterable[Reported]) -> Bake:
        """Once more: what the nodes report now.

        An agent that started anew counts from nothing; what an older one tells for the first time
        was before.
        """
        seen, traffic = dict(self.seen), self.traffic
        for one in reported:
            report = one.report
            told = report.models.get(model)
            version_told = told.versions.get(version) if told else None
            now = (version_told.traffic if version_told else None) or _NONE
            key = f"{report.node} {report.started}"
            before = seen.get(key, _NONE if report.started > self.since else now)
            traffic += now.since(before)
            seen[key] = now
        return Bake(self.since, seen, traffic)


def breaches(traffic: Traffic, gates: Gates) -> tuple[str, ...]:
    """Which gates the traffic does not hold, a line each; none of fewer requests than are needed
    to judge."""
    if traffic.requests < max(1, gates.min_requests):
        return ()
    reasons = []
    if gates.errors is not None and traffic.errors * WHOLE > gates.errors * traffic.requests:
        share = share_text(round(traffic.errors * WHOLE / traffic.requests))
        reasons.append(
            f"{traffic.errors} of {traffic.requests} answers were errors: {share}, more than "
            f"{share_text(gates.errors)}"
        )
    for percentile, most in sorted(gates.latency.items()):
        found = traffic.quantile(int(percentile) / 100)
        if found is not None and found > most:
            said = "beyond the last bucket" if math.isinf(found) else f"{found:.2f} s"
            reasons.append(f"latency p{percentile} is {said}, more than {most:g} s")
    return tuple(reasons)
