"""release.yaml: what it says, and every mistake of it at once."""

from __future__ import annotations

import pytest

from tslc.domain.evaluation import EvalGates
from tslc.domain.releasing.plan_file import (
    Evaluating,
    Gates,
    ReleasePlan,
    Step,
    Then,
    parse_plan,
)
from tslc.errors import BadFile

WHOLE_FILE = """
evaluate:
  data: [questions.jsonl]
  against: current
  min_pass: 95%
  no_regression: true
  max_slower: 25%
steps:
  - {split: 1%, bake: 10m}
  - split: 12.5%
    bake: 1h30m
    pause: true
gates:
  errors: 0.5%
  latency_p99: 30s
  min_requests: 200
patience: 2h
then: stay
"""


def test_everything_it_may_say() -> None:
    assert parse_plan(WHOLE_FILE, "release.yaml") == ReleasePlan(
        steps=(Step(100, 600.0), Step(1250, 5400.0, pause=True)),
        gates=Gates(50, {"99": 30.0}, 200),
        evaluate=Evaluating(("questions.jsonl",), "current", EvalGates(9500, True, 2500)),
        patience=7200.0,
        then=Then.STAY,
    )


def test_the_least_it_may_say() -> None:
    plan = parse_plan("steps: [{split: 10%}]", "release.yaml")
    assert plan == ReleasePlan((Step(1000),), Gates())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("steps: []", "steps: none"),
        ("", "not a mapping"),
        ("steps: [{split: 0%}]", "steps[1].split: no share of the traffic"),
        ("steps: [{splt: 5%}]", "steps[1].splt: unknown key 'splt'\n    fix: write 'split'"),
        ("steps: [{split: 5%, bake: soon}]", "steps[1].bake: 'soon' is no duration"),
        ("steps: [{split: 5%, pause: maybe}]", "steps[1].pause: 'maybe' is neither"),
        ("steps: [{split: 50%}, {split: 10%}]", "steps: the shares don't grow"),
        ("steps: [{split: 5%}]\ngates: {errors: lots}", "gates.errors: 'lots' is not a perc"),
        ("steps: [{split: 5%}]\ngates: {min_requests: -1}", "gates.min_requests: -1 is not"),
        ("steps: [{split: 5%}]\ngates: {latency_p98: 1s}", "unknown key 'latency_p98'"),
        ("steps: [{split: 5%}]\nthen: what", "then: 'what'"),
        ("steps: [{split: 5%}]\nevaluate: {max_slower: 5%}", "evaluate.against: missing"),
        ("steps: [{split: 5%}]\nevaluate: {data: a.jsonl}", "evaluate.data: not a list"),
        ("steps: [{split: 5%}]\nsteps: [{split: 6%}]", "steps: the key stands twice"),
        ("steps: [", "line 1: not YAML"),
    ],
)
def test_mistakes(text: str, told: str) -> None:
    with pytest.raises(BadFile) as caught:
        parse_plan(text, "release.yaml")
    assert told in caught.value.message


def test_all_mistakes_in_one_go() -> None:
    with pytest.raises(BadFile) as caught:
        parse_plan("steps: [{split: 200%}, {bake: 1x}]\nthen: x\ngate: {}", "release.yaml")
    assert len(caught.value.mistakes) >= 4
