"""What a node's versions and workers are doing, by their own word.

TorchServe is believed about which versions it has, never about how they are. A worker whose process
is gone, or who says that its engine is dead, is lost at once. One that is slow to answer is not: on
a machine with too much to do, restarting what is slow makes everything slower.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tslc.adapters import worker_door
from tslc.adapters.archive_file import built_by_others
from tslc.adapters.node_processes import started_at
from tslc.adapters.parallel import at_once
from tslc.adapters.torchserve_api import TorchServeApi
from tslc.adapters.worker_door import Door, DoorHealth
from tslc.domain.node import NodePaths
from tslc.domain.release.actual import VersionSeen, Worker
from tslc.domain.release.record import AgentRecord, worker_key
from tslc.domain.router.table import UpstreamName
from tslc.domain.served import Described, DoorReport
from tslc.errors import RemoteFailed

# A worker that serves is asked whether it still generates as often as this, in seconds.
GENERATES_EVERY = 5.0
# A worker that served may be silent, or generate nothing, for so many seconds.
PATIENCE = 45.0
_READY_SECONDS = 15.0
_HEALTH_SECONDS = 1.5


@dataclass
class _Known:
    """What is remembered of a worker between two looks: when it answered last, when it last
    generated (None: never seen)."""

    heard: float
    generated: float | None = None
    asked: float = float("-inf")
    asking: bool = False
    report: DoorReport | None = None
    names: tuple[str, ...] = ()


@dataclass
class Observer:
    """Looks at one node again and again; `clock` gives seconds, `woken` is called (from another
    thread) when a worker's answer has changed. `strays`: workers that TorchServe has forgotten."""

    paths: NodePaths
    clock: Callable[[], float]
    woken: Callable[[], None]
    strays: set[int] = field(default_factory=set)
    _known: dict[str, _Known] = field(default_factory=dict)
    _foreign: dict[str, bool] = field(default_factory=dict)

    def look(self, api: TorchServeApi, record: AgentRecord) -> dict[UpstreamName, VersionSeen]:
        """Every version TorchServe has. Raises RemoteFailed when TorchServe does not answer."""
        described = [one for model in api.models() for one in api.versions(model)]
        doors = worker_door.doors(self.paths.run)
        healths = at_once(lambda door: door.alive(_HEALTH_SECONDS), doors)
        alive = {door.name.pid: (door, health) for door, health in zip(doors, healths, strict=True)}
        self._ask_generation(doors, record)
        found = {}
        for one in described:
            name = UpstreamName(one.model, one.version)
            found[name] = self._version(name, one, alive, record)
        self._forget(found)
        return found

    def _version(
        self,
        name: UpstreamName,
        one: Described,
        alive: Mapping[int, tuple[Door, DoorHealth]],
        record: AgentRecord,
    ) -> VersionSeen:
        bridge = self._is_foreign(one.archive)
        mine = {pid for pid, (door, _) in alive.items() if _is(door, name)}
        if any(started_at(pid) is not None for pid in one.pids):
            # A worker TorchServe has forgotten: it gets no traffic and has to go.
            strays = mine - set(one.pids)
            self.strays |= strays
            mine -= strays
        workers, in_flight, names = [], 0, set[str]()
        unknown = bridge
        for pid in sorted(mine | set(one.pids)):
            started = started_at(pid)
            if started is None:
                continue
            key = worker_key(name, pid)
            proven = abs(record.proven.get(key, 0.0) - started) < 2
            if pid in mine:
                door, health = alive[pid]
                workers.append(self._worker(key, door, health, proven=proven))
                names |= set(self._known[key].names)
                unknown = unknown or health.in_flight is None
                in_flight += health.in_flight or 0
            else:
                ready = bridge and (proven or pid in one.ready_pids)
                reason = "" if ready else "its worker loads"
                workers.append(Worker(pid, None, ready, proven, reason))
        return VersionSeen(
            name,
            max(1, one.workers),
            tuple(workers),
            name in record.managed,
            None if unknown else in_flight,
            bridge,
            tuple(sorted(names)),
        )

    def _worker(self, key: str, door: Door, health: DoorHealth, *, proven: bool) -> Worker:
        now = self.clock()
        known = self._known.setdefault(key, _Known(now))
        if health.alive:
            known.heard = now
        if proven and known.generated is None:
            # After a restart of the agent a proven worker counts until it says otherwise.
            known.generated = now
        fresh = known.generated is not None and now - known.generated < PATIENCE
        ready = fresh and not health.dead and now - known.heard < PATIENCE
        said = known.report.reason if known.report else "not asked yet"
        reason = "" if ready else (health.reason or said)
        return Worker(door.name.pid, door.socket, ready, proven, reason)

    def _ask_generation(self, doors: Iterable[Door], record: AgentRecord) -> None:
        """Whether each worker generates: of one that is not proven each time, else now and then.

        Nobody waits for the answers here: an engine that hangs must not hold up the others.
        """
        now = self.clock()
        for door in doors:
            key = worker_key(UpstreamName(door.name.model, door.name.version), door.name.pid)
            known = self._known.setdefault(key, _Known(now))
            waits = key not in record.proven or (
                known.report is not None and not known.report.ready
            )
            if not known.asking and (waits or now - known.asked >= GENERATES_EVERY):
                known.asked, known.asking = now, True
                # Nothing waits for such a thread at the end of the process either.
                threading.Thread(target=self._ask, args=(known, door), daemon=True).start()

    def _ask(self, known: _Known, door: Door) -> None:
        try:
            report = door.ready(_READY_SECONDS)
            if report.ready and not known.names:
                known.names = _names(door)
            changed = known.report is None or known.report.ready != report.ready
            known.report = report
            if report.ready:
                known.generated = self.clock()
        finally:
            known.asking = False
        if changed:
            self.woken()

    def _is_foreign(self, archive: str) -> bool:
        file = Path(archive).name
        if file not in self._foreign:
            self._foreign[file] = built_by_others(self.paths.model_store / file)
        return self._foreign[file]

    def _forget(self, found: Mapping[UpstreamName, VersionSeen]) -> None:
        there = {worker_key(name, w.pid) for name, seen in found.items() for w in seen.workers}
        self._known = {key: known for key, known in self._known.items() if key in there}


def _is(door: Door, name: UpstreamName) -> bool:
    return (door.name.model, door.name.version) == (name.model, name.version)


def _names(door: Door) -> tuple[str, ...]:
    try:
        return door.served_names()
    except RemoteFailed:
        return ()
