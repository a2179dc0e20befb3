"""What to do next while a version loads, and what may be said of one that has."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tslc.domain.loading import LoadPlan, Seen, Step, load_plan, next_step, served_name
from tslc.domain.served import DoorReport, ServedVersion, natural_order, successor


@given(st.integers(1, 8), st.integers(0, 8), st.booleans(), st.floats(-10, 10))
def test_prompts_are_tried_only_when_all_workers_are_ready_and_none_died(
    wanted: int, ready: int, died: bool, left: float
) -> None:
    step = next_step(Seen(wanted, ready, died), left)
    assert (step is Step.TRY_PROMPTS) == (ready >= wanted and not died)
    assert (step is Step.GIVE_UP_DEAD) == died
    if step is Step.WAIT:
        assert left > 0


def test_workers_and_time_are_read_as_torchserve_reads_them() -> None:
    assert load_plan({}) == LoadPlan(1, 120)
    assert load_plan({"minWorkers": 2, "maxWorkers": 4, "startupTimeout": 9}) == LoadPlan(2, 9)
    assert load_plan({"minWorkers": 2}) == LoadPlan(1, 120)
    assert load_plan({"minWorkers": "2", "startupTimeout": None}) == LoadPlan(1, 120)


def test_requests_call_the_model_what_it_is_served_as() -> None:
    assert served_name({}, "m") == "m"
    assert served_name({"handler": {"served_model_name": ["a", "b"]}}, "m") == "a"
    assert served_name({"handler": {"served_model_name": "c"}}, "m") == "c"
    assert served_name({"handler": None}, "m") == "m"


def served(version: str, *ready: bool, workers: int = 1) -> ServedVersion:
    doors = tuple(DoorReport(n, yes, "" if yes else "engine hangs") for n, yes in enumerate(ready))
    return ServedVersion("m", version, False, workers, "m.mar", doors)


def test_a_version_is_ready_when_every_worker_it_should_have_says_so() -> None:
    assert served("1", True).ready
    assert not served("1", workers=0).ready
    assert not served("1", True, workers=2).ready
    assert not served("1", True, False, workers=2).ready
    assert served("1", True, False, workers=2).why_not == "engine hangs"
    assert served("1", workers=2).why_not == "2 workers without a door"


def test_versions_are_ordered_as_people_count() -> None:
    found = natural_order([served("1.10.0"), served("1.9.0"), served("1.9.0-rc1"), served("x")])
    assert [one.version for one in found] == ["x", "1.9.0", "1.9.0-rc1", "1.10.0"]


def test_only_a_ready_version_may_become_the_default() -> None:
    versions = [served("1", True), served("2", True), served("3", False)]
    heir = successor(versions, "1")
    assert heir is not None
    assert heir.version == "2"
    assert successor(versions[1:], "2") is None
