"""The workers' own metrics, told apart by model, version and worker, each family once.

Only what is the worker's or vLLM's comes through; times of creation do not (they would double the
number of series). Where two workers disagree on a family's kind, the first one's holds and the
other's samples are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from tslc.domain.door import DoorName
from tslc.domain.node_metrics.family import Family, Metric, Sample

_PREFIXES = ("tslc_", "vllm:")
_CREATED = "_created"


class UnreadableMetrics(ValueError):
    """A worker's answer is not in Prometheus' format."""


def of_worker(text: str, door: DoorName) -> tuple[Metric, ...]:
    """Raises UnreadableMetrics."""
    about = {"model": door.model, "version": door.version, "worker": str(door.pid)}
    try:
        families = list(text_string_to_metric_families(text))
    except (ValueError, KeyError, IndexError) as error:
        raise UnreadableMetrics(str(error)) from error
    return tuple(
        Metric(
            Family(one.name, one.type, one.documentation or one.name),
            tuple(
                Sample(sample.name, {**about, **_renamed(sample.labels, about)}, sample.value)
                for sample in one.samples
            ),
        )
        for one in families
        if one.name.startswith(_PREFIXES) and not one.name.endswith(_CREATED)
    )


def _renamed(labels: dict[str, str], taken: Iterable[str]) -> dict[str, str]:
    """As Prometheus does with labels of a target that are its own already."""
    return {f"exported_{name}" if name in taken else name: v for name, v in labels.items()}


@dataclass
class _Merged:
    family: Family
    samples: list[Sample] = field(default_factory=list)


def merged(metrics: Iterable[Metric]) -> Iterator[Metric]:
    """Each family once, in the order in which they first appear."""
    found: dict[str, _Merged] = {}
    for one in metrics:
        same = found.setdefault(one.family.name, _Merged(one.family))
        if same.family.kind == one.family.kind:
            same.samples += one.samples
    for each in found.values():
        yield Metric(each.family, tuple(each.samples))
