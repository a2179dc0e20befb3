"""Metrics as values: a family has a name, a kind and words; its samples come and go.

Names follow Prometheus: base units, `_total` for what only grows (in the samples, not in the
family's name), `_info` for what has no number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """`kind`: counter, gauge, histogram, info, or what else a worker says. `labels`: for the table
    of docs/metrics.md; the samples have them."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()

    @property
    def sample_name(self) -> str:
        """What a query asks for; of a histogram, what its samples' names begin with."""
        return self.name + {"counter": "_total", "info": "_info"}.get(self.kind, "")

    def sample(self, value: float, *values: str) -> Sample:
        """`values` of the family's labels, in their order."""
        return Sample(self.sample_name, dict(zip(self.labels, values, strict=True)), value)

    def of(self, *samples: Sample) -> Metric:
        return Metric(self, samples)


@dataclass(frozen=True)
class Sample:
    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class Metric:
    family: Family
    samples: tuple[Sample, ...] = ()
