"""The plan of a node, against a simulated one: whatever happens, what must never be never is, and
when nothing happens any more the node comes to what is desired.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulated_node import SimNode, SimVersion, settle
from tslc.domain.release.actual import Actual, Failure, Job, RouterSeen, VersionSeen, Worker
from tslc.domain.release.changes import promote, read_split, retire, rollback, split
from tslc.domain.release.plan import PublishRoutes, Start, backoff, plan, wanted_table
from tslc.domain.release.state import Change, EnvironmentState, ModelState, Strategy
from tslc.domain.router.table import WHOLE, UpstreamName


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
