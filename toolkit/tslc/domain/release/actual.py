"""What a node sees of itself: its versions and their workers, its router, what it is doing.

Times are seconds of a clock that only moves forward.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from tslc.domain.router.table import RouterTable, Segment, UpstreamName


@dataclass(frozen=True)
class Worker:
    """A living worker. `door`: its socket, None until it listens (and for an archive that is not
    ours, which has none). `ready`: it generates, by its own answer. `proven`: it passed the golden
    prompts."""

    pid: int
    door: Path | None = None
    ready: bool = False
    proven: bool = False
    reason: str = ""

    @property
    def serves(self) -> bool:
        return self.ready and self.proven


@dataclass(frozen=True)
class VersionSeen:
    """A version that TorchServe has. `wanted` workers; `managed`: the agent put it there.

    `in_flight`: requests on it, None when nobody knows; `bridge`: an archive that is not ours.
    """

    name: UpstreamName
    wanted: int = 1
    workers: tuple[Worker, ...] = ()
    managed: bool = True
    in_flight: int | None = 0
    bridge: bool = False
    served_names: tuple[str, ...] = ()

    @property
    def serving(self) -> tuple[Worker, ...]:
        return tuple(worker for worker in self.workers if worker.serves)

    @property
    def unproven(self) -> tuple[Worker, ...]:
        return tuple(one for one in self.workers if one.ready and not one.proven)

    @property
    def reason(self) -> str:
        """Why it does not serve with all its workers; empty when it does."""
        if len(self.serving) >= self.wanted > 0:
            return ""
        said = [worker.reason for worker in self.workers if worker.reason]
        missing = self.wanted - len(self.workers)
        if missing > 0 or not self.wanted:
            said.append(f"{len(self.workers)} of {self.wanted} workers run")
        return "; ".join(dict.fromkeys(said)) or "not proven yet"


class Job(Enum):
    """What the agent is doing to a version."""

    LOAD = "loading"
    PROVE = "trying its golden prompts"
    HEAL = "restarting its worker"
    UNLOAD = "unloading"


@dataclass(frozen=True)
class Failure:
    """A job that went wrong: it is tried again after `until`. `tries` in a row."""

    job: Job
    reason: str
    tries: int
    until: float


@dataclass(frozen=True)
class RouterSeen:
    """What the router was given, and whether it took it.

    `upstreams_taken`, `routes_taken`: the table's clusters and routes are in force; `quiet_since`:
    since when these routes are; `active`: upstreams with an endpoint that answers.
    """

    table: RouterTable = field(default_factory=RouterTable)
    reachable: bool = False
    upstreams_taken: bool = False
    routes_taken: bool = False
    quiet_since: float = 0.0
    active: frozenset[UpstreamName] = frozenset()
    problem: str = ""

    def segments(self, model: str) -> tuple[Segment, ...]:
        return next((one.segments for one in self.table.models if one.model == model), ())


@dataclass(frozen=True)
class Actual:
    """`grace`: until when a version without a living worker is let be, because it loads.

    `turn`: models that this node may take down to load another version (strategy recreate).
    `torchserve`: it answers. `bridge_key`: its inference key, where an archive needs it.
    """

    versions: Mapping[UpstreamName, VersionSeen] = field(default_factory=dict)
    router: RouterSeen = field(default_factory=RouterSeen)
    jobs: Mapping[UpstreamName, Job] = field(default_factory=dict)
    failures: Mapping[UpstreamName, Failure] = field(default_factory=dict)
    grace: Mapping[UpstreamName, float] = field(default_factory=dict)
    turn: frozenset[str] = frozenset()
    torchserve: bool = True
    bridge_key: str | None = None
