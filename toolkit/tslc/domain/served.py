"""What a node serves: TorchServe's account of its versions beside what their doors answer.

Decides what may be said of a version: it is ready when every worker it should have answers that it
is, whatever TorchServe calls its state (a worker that came back is `UNLOADING` for ever there).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Described:
    """One version as TorchServe's management API tells it. `pids`: its workers, dead ones too;
    `ready_pids`: those it calls ready, which is true only once: while they load."""

    model: str
    version: str
    archive: str
    workers: int
    pids: tuple[int, ...]
    ready_pids: tuple[int, ...] = ()


@dataclass(frozen=True)
class DoorReport:
    """One worker's answer at its direct door; `reason` is empty when it is ready."""

    pid: int
    ready: bool
    reason: str = ""


@dataclass(frozen=True)
class ServedVersion:
    model: str
    version: str
    default: bool
    workers: int
    archive: str
    doors: tuple[DoorReport, ...]

    @property
    def ready_workers(self) -> int:
        return sum(door.ready for door in self.doors)

    @property
    def ready(self) -> bool:
        return self.workers > 0 and self.ready_workers >= self.workers

    @property
    def why_not(self) -> str:
        """Why the version is not ready; empty when it is."""
        if self.ready:
            return ""
        if self.workers == 0:
            return "it has no worker"
        reasons = [door.reason for door in self.doors if not door.ready]
        missing = self.workers - len(self.doors)
        if missing > 0:
            reasons.append(f"{missing} worker{'s' if missing > 1 else ''} without a door")
        return "; ".join(dict.fromkeys(reasons))


def successor(versions: Sequence[ServedVersion], version: str) -> ServedVersion | None:
    """The version to make the default when `version` goes: the last of the ready others."""
    ready = [other for other in versions if other.version != version and other.ready]
    return ready[-1] if ready else None


def natural_order(versions: Iterable[ServedVersion]) -> tuple[ServedVersion, ...]:
    """By model, then by version with numbers compared as numbers: 1.9.0 before 1.10.0."""
    return tuple(sorted(versions, key=lambda one: (one.model, _version_key(one.version))))


def _version_key(version: str) -> tuple[tuple[int, str], ...]:
    parts = version.replace("-", ".").replace("+", ".").split(".")
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in parts)
