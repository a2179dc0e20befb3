"""What a version's traffic came to while it baked, and what its gates say."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tslc.domain.release.report import (
    ModelReport,
    NodeReport,
    Phase,
    Reported,
    VersionReport,
)
from tslc.domain.release.traffic import Traffic
from tslc.domain.releasing.bake import Bake, breaches
from tslc.domain.releasing.plan_file import Gates

SINCE = "2026-01-02T00:00:00+00:00"
BEFORE, AFTER = "2026-01-01T00:00:00+00:00", "2026-01-03T00:00:00+00:00"


def counted(good: int, bad: int = 0) -> Traffic:
    return Traffic({"2xx": good, "5xx": bad}, {"1.0": good, "+Inf": bad})


def said(node: str, traffic: Traffic | None, started: str = BEFORE) -> Reported:
    version = VersionReport(Phase.READY, traffic=traffic)
    models = {"m": ModelReport(True, {"2": version})}
    return Reported(NodeReport(node, "dev", 1, "0", started, models=models), 0.0)


def taken(*rounds: list[Reported]) -> Traffic:
    bake = Bake(SINCE)
    for one in rounds:
        bake = bake.take("m", "2", one)
    return bake.traffic


def test_only_what_comes_after_the_beginning_counts() -> None:
    rounds = [[said("a", counted(100, 7))], [said("a", counted(130, 8))]]
    assert (taken(*rounds).requests, taken(*rounds).errors) == (31, 1)


def test_nodes_are_added_up() -> None:
    first = [said("a", counted(5)), said("b", None)]
    second = [said("a", counted(7)), said("b", counted(4))]
    assert taken(first, second).requests == 6


def test_an_agent_that_started_anew_counts_from_nothing() -> None:
    rounds = [[said("a", counted(100))], [said("a", counted(3), AFTER)]]
    assert taken(*rounds).requests == 3


def test_a_node_that_was_away_at_the_beginning_brings_nothing_old() -> None:
    rounds = [[said("a", counted(1))], [said("a", counted(1)), said("b", counted(900, 900))]]
    assert taken(*rounds).requests == 0


def test_a_report_that_is_read_twice_counts_once() -> None:
    one = [said("a", counted(10))]
    assert taken([said("a", None)], one, one, one).requests == 10


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), min_size=1, max_size=20))
def test_rounds_add_up_to_the_whole(grown: list[tuple[int, int]]) -> None:
    good = bad = 0
    rounds = [[said("a", None)]]
    for more, worse in grown:
        good, bad = good + more, bad + worse
        rounds.append([said("a", counted(good, bad))])
    assert taken(*rounds).answers == counted(good, bad).answers


def test_the_gates() -> None:
    gates = Gates(errors=100, latency={"50": 0.4, "99": 30.0}, min_requests=10)
    assert breaches(counted(0, 9), gates) == ()
    assert breaches(Traffic({"2xx": 99, "5xx": 1}, {"0.25": 100}), gates) == ()
    assert breaches(Traffic({"2xx": 98, "5xx": 2}, {"0.25": 100}), gates) == (
        "2 of 100 answers were errors: 2%, more than 1%",
    )
    slow = breaches(Traffic({"2xx": 100}, {"1.0": 90, "+Inf": 10}), gates)
    assert slow[0].startswith("latency p50 is 0.")
    assert slow[1] == "latency p99 is beyond the last bucket, more than 30 s"
    assert breaches(counted(0, 500), Gates(min_requests=0)) == ()


@pytest.mark.parametrize(
    ("seconds", "share", "found"),
    [
        ({}, 0.5, None),
        ({"1.0": 0}, 0.5, None),
        ({"0.5": 10, "1.0": 10}, 0.5, 0.5),
        ({"0.5": 10, "1.0": 10}, 0.75, 0.75),
        ({"0.5": 0, "1.0": 4, "+Inf": 0}, 0.5, 0.75),
        ({"1.0": 1, "+Inf": 1}, 0.9, math.inf),
    ],
)
def test_a_quantile_of_buckets(seconds: dict[str, int], share: float, found: float | None) -> None:
    assert Traffic({}, seconds).quantile(share) == found


def test_a_report_keeps_the_traffic() -> None:
    report = said("a", counted(3, 1)).report
    assert NodeReport.parse(report.render()) == report
    assert report.gist == said("a", None).report.gist
