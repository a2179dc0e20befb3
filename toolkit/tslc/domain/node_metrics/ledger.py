"""Totals that only grow, of counts that vanish.

Envoy forgets what it counted when a cluster goes, and a chain of versions goes with every change of
a split; Prometheus would take the smaller sum for a restart, and count what is left once more.

Laws: a total never shrinks; what was counted before the first look is not in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Series = tuple[str, ...]
"""A family's name and the values of its labels."""

# Prometheus has seen the last value of a version that is gone by then, in seconds.
KEEP = 900.0


@dataclass(frozen=True)
class Reading:
    """A count of one source, which is part of a series; it begins at 0 when the source appears."""

    source: str
    series: Series
    value: float


@dataclass
class Ledger:
    _last: Mapping[str, float] | None = None
    _totals: dict[Series, float] = field(default_factory=dict)
    _seen: dict[Series, float] = field(default_factory=dict)

    def take(self, readings: Iterable[Reading], now: float) -> None:
        """All there are at this moment. A series without a source is forgotten after KEEP."""
        first, before, last = self._last is None, self._last or {}, {}
        for one in readings:
            last[one.source] = one.value
            known = before.get(one.source, 0.0)
            grown = one.value - known if one.value >= known else one.value
            self.add(one.series, 0.0 if first else grown, now)
        self._last = last
        for series in [one for one, at in self._seen.items() if now - at > KEEP]:
            del self._seen[series], self._totals[series]

    def add(self, series: Series, grown: float, now: float) -> None:
        self._totals[series] = self._totals.get(series, 0.0) + grown
        self._seen[series] = now

    @property
    def totals(self) -> Mapping[Series, float]:
        return dict(self._totals)
