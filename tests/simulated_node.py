"""A simulated node: it does with the planner's actions what the agent, TorchServe and Envoy do.

It takes a while, it fails, workers die, the agent is killed and has forgotten all but its record.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

from tslc.domain.release.actual import Actual, Failure, Job, RouterSeen, VersionSeen, Worker
from tslc.domain.release.changes import promote, read_split, retire, rollback, split
from tslc.domain.release.plan import Action, PublishRoutes, PublishUpstreams, Start, backoff, plan
from tslc.domain.release.state import Change, EnvironmentState, ModelState, Strategy
from tslc.domain.router.table import RouterTable, UpstreamName
from tslc.errors import TslcError

VERSIONS = ("1.0.0", "1.1.0", "1.2.0")
LOAD_TIME = 3


@dataclass
class SimVersion:
    """A version TorchServe has: `loads` rounds until its worker is ready, None: it has none."""

    pid: int
    loads: int | None = LOAD_TIME
    proven: bool = False
    requests: int = 0

    @property
    def ready(self) -> bool:
        return self.loads == 0


@dataclass
class SimNode:
    """One node. Every method that begins with an underscore is nature's part."""

    dice: random.Random
    desired: EnvironmentState = field(default_factory=lambda: EnvironmentState("dev"))
    now: float = 0.0
    versions: dict[UpstreamName, SimVersion] = field(default_factory=dict)
    jobs: dict[UpstreamName, tuple[Job, int]] = field(default_factory=dict)
    failures: dict[UpstreamName, Failure] = field(default_factory=dict)
    grace: dict[UpstreamName, float] = field(default_factory=dict)
    table: RouterTable = field(default_factory=RouterTable)
    upstreams_taken: bool = True
    routes_taken: bool = True
    quiet_since: float = 0.0
    router_up: bool = True
    pids: int = 0
    calm: bool = False
    unloaded: list[UpstreamName] = field(default_factory=list)

    # --- what the agent sees -----------------------------------------------------------------

    def actual(self) -> Actual:
        seen = {name: self._seen(name, one) for name, one in self.versions.items()}
        known = {one.name for one in self.table.upstreams if one.doors}
        active = {name for name in known if name in seen and seen[name].serving}
        router = RouterSeen(
            self.table,
            self.router_up,
            self.upstreams_taken,
            self.routes_taken,
            self.quiet_since,
            frozenset(active) if self.upstreams_taken else frozenset(),
        )
        jobs = {name: job for name, (job, _) in self.jobs.items()}
        turn = frozenset(self.desired.models)
        return Actual(seen, router, jobs, self.failures, self.grace, turn)

    def _seen(self, name: UpstreamName, one: SimVersion) -> VersionSeen:
        door = Path(f"/run/{name.model}@{name.version}@{one.pid}.sock")
        worker = Worker(one.pid, door, one.ready, one.proven) if one.loads is not None else None
        return VersionSeen(name, 1, (worker,) if worker else (), True, one.requests)

    # --- one round ---------------------------------------------------------------------------

    def round(self) -> tuple[Action, ...]:
        self._time_passes()
        actual = self.actual()
        actions = plan(self.desired, actual, self.now)
        for action in actions:
            self._check(action, actual)
            self._begin(action)
        return actions

    def _check(self, action: Action, actual: Actual) -> None:
        match action:
            case Start(Job.UNLOAD, name):
                assert name not in routed(self.table), "unloaded a version that has traffic"
                assert self.versions[name].requests == 0, "unloaded a version that has requests"
                assert name.version not in wanted(self.desired, name.model)
            case PublishRoutes(table):
                assert table.upstreams == self.table.upstreams
                known = {one.name for one in self.table.upstreams}
                for name in routed(table):
                    assert name in known, "a route to an upstream that the router does not have"
                    assert actual.versions[name].serving, "a route to what does not serve"
            case PublishUpstreams(table):
                names = {one.name for one in table.upstreams}
                assert table.models == self.table.models
                for name in routed(self.table):
                    assert name in names, "an upstream went that a route leads to"
            case Start(job, name):
                assert name.version in wanted(self.desired, name.model)
                assert (job is Job.LOAD) == (name not in self.versions)

    def _begin(self, action: Action) -> None:
        match action:
            case Start(job, name):
                assert name not in self.jobs
                self.jobs[name] = (job, self.dice.randint(1, 3))
            case PublishUpstreams(table):
                self.table, self.upstreams_taken = table, False
            case PublishRoutes(table):
                self.table, self.routes_taken = table, False

    def _time_passes(self) -> None:
        self.now += 0.5
        if self.router_up and not self.upstreams_taken:
            self.upstreams_taken = True
        if self.router_up and not self.routes_taken:
            self.routes_taken, self.quiet_since = True, self.now
        for one in self.versions.values():
            if one.loads:
                one.loads -= 1
            one.requests = max(0, one.requests - self.dice.randint(0, 2))
        traffic = {UpstreamName(m.model, s.version) for m in self.table.models for s in m.segments}
        for name in traffic & set(self.versions):
            if self.versions[name].ready and not self.calm:
                self.versions[name].requests += self.dice.randint(0, 2)
        for name, (job, left) in list(self.jobs.items()):
            if left > 1:
                self.jobs[name] = (job, left - 1)
            else:
                del self.jobs[name]
                self._finish(job, name)

    def _finish(self, job: Job, name: UpstreamName) -> None:
        if not self.calm and self.dice.random() < 0.15:
            before = self.failures.get(name)
            self.failures[name] = backoff(before, job, "the dice", self.now)
            return
        self.failures.pop(name, None)
        match job:
            case Job.LOAD:
                self.versions[name] = SimVersion(self._pid(), 0, proven=True)
            case Job.PROVE if name in self.versions:
                self.versions[name].proven = True
            case Job.HEAL if name in self.versions:
                self.versions[name] = SimVersion(self._pid())
                self.grace[name] = self.now + 5
            case Job.UNLOAD:
                self.versions.pop(name, None)
                self.unloaded.append(name)

    def _pid(self) -> int:
        self.pids += 1
        return self.pids

    # --- what may happen ---------------------------------------------------------------------

    def kill_worker(self) -> None:
        if self.versions:
            name = self.dice.choice(sorted(self.versions))
            self.versions[name] = SimVersion(0, None)
            self.grace.pop(name, None)

    def kill_agent(self) -> None:
        """What it was doing has been done, half-done, or not begun; all else is forgotten."""
        for name, (job, _) in self.jobs.items():
            if job is Job.LOAD and self.dice.random() < 0.5:
                self.versions[name] = SimVersion(self._pid())
                self.grace[name] = self.now + 5
            if job is Job.HEAL and name in self.versions and self.dice.random() < 0.5:
                self.versions[name] = SimVersion(0, None)
        self.jobs.clear()
        self.failures.clear()
        self.grace = dict.fromkeys(self.versions, self.now + 2)

    def change(self) -> None:
        model = self.dice.choice(("a", "b"))
        before = self.desired.models.get(model)
        try:
            after = self._changed(model, before)
        except TslcError:
            return
        models = {name: one for name, one in self.desired.models.items() if name != model}
        models |= {model: after} if after else {}
        self.desired = self.desired.following(Change("", "", "", ""), models=models)

    def _changed(self, model: str, before: ModelState | None) -> ModelState | None:
        strategy = self.dice.choice(tuple(Strategy))
        one, other = self.dice.sample(VERSIONS, 2)
        match self.dice.randrange(5):
            case 0:
                return promote(before, one, strategy)
            case 1:
                return rollback(model, before, None)
            case 2:
                return retire(model, before, one, force=self.dice.random() < 0.3)
            case 3:
                shadow = f"{next(v for v in VERSIONS if v not in (one, other))}=5"
                return split(
                    before, read_split([f"{one}=90", f"{other}=10"], None, shadow), strategy
                )
            case _:
                return split(before, read_split([f"{one}=50", f"{other}=50"]), strategy)


def routed(table: RouterTable) -> set[UpstreamName]:
    return {
        UpstreamName(one.model, version)
        for one in table.models
        for version in (*(s.version for s in one.segments), *one.ready, *one.spare)
    }


def wanted(state: EnvironmentState, model: str) -> tuple[str, ...]:
    one = state.models.get(model)
    return one.versions if one else ()


def settle(node: SimNode, rounds: int = 400) -> int:
    """Rounds until nothing is left to do; the node is left alone meanwhile."""
    node.calm, node.router_up = True, True
    for count in range(rounds):
        if not node.round() and not node.jobs and node.routes_taken and converged(node):
            return count
    raise AssertionError(f"not there after {rounds} rounds: {node.desired}, {node.actual()}")


def converged(node: SimNode) -> bool:
    loaded = {name for name, one in node.versions.items() if one.ready and one.proven}
    desired = {UpstreamName(m, v) for m, s in node.desired.models.items() for v in s.versions}
    segments = {one.model: one.segments for one in node.table.models}
    return loaded == set(node.versions) == desired and all(
        segments.get(model) == state.segments for model, state in node.desired.models.items()
    )
