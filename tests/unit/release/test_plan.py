"""The plan of a node, against a simulated one: whatever happens, what must never be never is, and
when nothing happens any more the node comes to what is desired.

The simulation does with the planner's actions what the agent, TorchServe and Envoy do: it takes a
while, it fails, workers die, the agent is killed and has forgotten all but its record.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tslc.domain.release.actual import Actual, Failure, Job, RouterSeen, VersionSeen, Worker
from tslc.domain.release.changes import promote, read_split, retire, rollback, split
from tslc.domain.release.plan import (
    Action,
    PublishRoutes,
    PublishUpstreams,
    Start,
    backoff,
    plan,
    wanted_table,
)
from tslc.domain.release.state import Change, EnvironmentState, ModelState, Strategy
from tslc.domain.router.table import WHOLE, RouterTable, UpstreamName
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


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_whatever_happens_no_traffic_is_lost_by_the_plan_and_quiet_brings_what_is_desired(
    seed: int,
) -> None:
    dice = random.Random(seed)
    node = SimNode(dice)
    for _ in range(120):
        match dice.randrange(12):
            case 0:
                node.change()
            case 1:
                node.kill_worker()
            case 2:
                node.kill_agent()
            case 3:
                node.router_up = not node.router_up
        node.round()
    settle(node)


def started(*shares: str, strategy: Strategy = Strategy.WARM, shadow: str | None = None) -> SimNode:
    """A node that serves a split."""
    node = SimNode(random.Random(1), calm=True)
    wish(node, split(None, read_split(shares, None, shadow), strategy))
    settle(node)
    return node


def wish(node: SimNode, model: ModelState | None) -> None:
    models = {"a": model} if model else {}
    node.desired = node.desired.following(Change("", "", "", ""), models=models)


def serving(node: SimNode) -> dict[str, int]:
    return {s.version: s.weight for m in node.table.models for s in m.segments}


def rounds_until(node: SimNode, shares: dict[str, int], most: int = 60) -> int:
    for count in range(most):
        if serving(node) == shares:
            return count
        node.round()
    raise AssertionError(serving(node))


def test_a_new_version_has_no_traffic_before_it_serves_and_the_old_keeps_it_until_then() -> None:
    node = started("1.0.0=100")
    wish(node, promote(node.desired.models["a"], "1.1.0", Strategy.WARM))
    name = UpstreamName("a", "1.1.0")
    while name not in node.versions or not node.versions[name].proven:
        node.round()
        assert serving(node) == {"1.0.0": WHOLE}
    assert rounds_until(node, {"1.1.0": WHOLE}) <= 4
    assert UpstreamName("a", "1.0.0") in node.versions, "it stays warm"


def test_a_rollback_to_a_warm_version_takes_one_publication() -> None:
    node = started("1.0.0=100")
    wish(node, promote(node.desired.models["a"], "1.1.0", Strategy.WARM))
    settle(node)
    wish(node, rollback("a", node.desired.models["a"], None))
    actions = node.round()
    assert [type(action) for action in actions] == [PublishRoutes]
    assert serving(node) == {"1.0.0": WHOLE}


def test_when_a_version_dies_its_share_goes_to_the_others_and_comes_back() -> None:
    node = started("1.0.0=90", "1.1.0=10")
    node.versions[UpstreamName("a", "1.0.0")] = SimVersion(0, None)
    actions = node.round()
    assert Start(Job.HEAL, UpstreamName("a", "1.0.0")) in actions
    assert serving(node) == {"1.1.0": WHOLE}
    settle(node)
    assert serving(node) == {"1.0.0": 9000, "1.1.0": 1000}


def test_a_shadow_gets_no_users_even_when_all_else_is_dead() -> None:
    node = started("1.0.0=100", shadow="1.1.0=10")
    node.versions[UpstreamName("a", "1.0.0")] = SimVersion(0, None)
    node.round()
    assert serving(node) == {}
    assert all("1.1.0" not in one.spare for one in node.table.models)


def test_with_recreate_the_old_version_is_gone_before_the_new_one_is_loaded() -> None:
    node = started("1.0.0=100", strategy=Strategy.RECREATE)
    wish(node, promote(node.desired.models["a"], "1.1.0", Strategy.RECREATE))
    for _ in range(40):
        node.round()
        assert len(node.versions) <= 1
    settle(node)
    assert serving(node) == {"1.1.0": WHOLE}


def test_a_version_with_a_stream_on_it_is_not_unloaded_however_long_it_lasts() -> None:
    node = started("1.0.0=90", "1.1.0=10")
    name = UpstreamName("a", "1.1.0")
    wish(node, retire("a", node.desired.models["a"], "1.1.0", force=True))
    for _ in range(50):
        node.versions[name].requests = 100
        node.round()
    assert name in node.versions
    assert any(one.name == name for one in node.table.upstreams), "its stream has its upstream"
    settle(node)
    assert node.unloaded == [name]


def test_a_model_that_is_retired_leaves_no_route_and_no_version() -> None:
    node = started("1.0.0=100")
    wish(node, None)
    settle(node)
    assert (node.table.models, node.table.upstreams, node.versions) == ((), (), {})


def test_what_was_registered_by_hand_is_let_be() -> None:
    name = UpstreamName("other", "1")
    actual = Actual({name: VersionSeen(name, managed=False)}, RouterSeen(reachable=True))
    assert not [a for a in plan(EnvironmentState("dev"), actual, 9.0) if isinstance(a, Start)]


def test_one_version_is_loaded_at_a_time() -> None:
    node = SimNode(random.Random(1), calm=True)
    wish(node, split(None, read_split(["1.0.0=50", "1.1.0=50"]), Strategy.WARM))
    begun = [action for action in node.round() if isinstance(action, Start)]
    assert begun == [Start(Job.LOAD, UpstreamName("a", "1.0.0"))]


@pytest.mark.parametrize(("tries", "pause"), [(1, 5.0), (2, 10.0), (3, 20.0), (20, 600.0)])
def test_each_failure_is_waited_for_longer(tries: int, pause: float) -> None:
    failure: Failure | None = None
    for _ in range(tries):
        failure = backoff(failure, Job.LOAD, "why", 100.0)
    assert failure is not None
    assert failure.until == 100.0 + pause


def test_a_word_that_could_mean_two_models_means_neither() -> None:
    def seen(name: UpstreamName, *names: str) -> VersionSeen:
        worker = Worker(1, Path(f"/{name.model}.sock"), ready=True, proven=True)
        return VersionSeen(name, 1, (worker,), served_names=names)

    one, other = UpstreamName("a", "1.0.0"), UpstreamName("b", "1.0.0")
    versions = {one: seen(one, "a", "gpt", "b"), other: seen(other, "b", "gpt", "own")}
    state = split(None, read_split(["1.0.0=100"]), Strategy.WARM)
    desired = EnvironmentState("dev").following(
        Change("", "", "", ""), models={"a": state, "b": state}
    )
    node = SimNode(random.Random(1))
    actual = replace(node.actual(), versions=versions)
    names = {m.model: m.names for m in wanted_table(desired, actual, 1.0, False).models}
    assert names == {"a": (), "b": ("own",)}
