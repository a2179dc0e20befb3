"""What an evaluation came to, and its gates."""

from __future__ import annotations

from tslc.domain.evaluation import (
    Answer,
    Asked,
    EvalGates,
    Evaluation,
    Prompts,
    dataset,
    failures,
    figures,
)
from tslc.domain.golden import parse_golden

GOOD, BAD = Answer((), 1.0, "yes", 10), Answer(("is not 'yes'",), 3.0, "no", 30)


def of(*pairs: tuple[Answer, Answer]) -> Evaluation:
    asked = [Asked(f"p{i}", {"2": ours, "1": theirs}) for i, (ours, theirs) in enumerate(pairs)]
    return Evaluation("m", "2", "1", asked)


def test_what_changed() -> None:
    found = of((GOOD, GOOD), (BAD, GOOD), (GOOD, BAD), (BAD, BAD))
    assert [one.name for one in found.failed] == ["p1", "p3"]
    assert [one.name for one in found.regressed] == ["p1"]
    assert [one.name for one in found.mended] == ["p2"]
    assert [one.name for one in found.changed] == ["p1", "p2"]


def test_the_figures() -> None:
    found = figures(of((GOOD, GOOD), (GOOD, GOOD), (BAD, GOOD)), "2")
    assert (found.passed, found.failed, found.median, found.p95) == (2, 1, 1.0, 3.0)
    assert (found.tokens, found.tokens_per_second) == (50, 10.0)
    silent = Answer((), 1.0)
    assert figures(of((silent, silent)), "2").tokens is None


def test_the_gates() -> None:
    found = of((GOOD, GOOD), (GOOD, GOOD), (GOOD, GOOD), (BAD, GOOD))
    assert failures(found, EvalGates()) == ("passed 3 of 4 prompts, all must",)
    assert failures(found, EvalGates(min_pass=7500)) == ()
    assert failures(found, EvalGates(7500, no_regression=True)) == ("fails what 1 passes: p3",)
    slow = of((Answer((), 2.0), Answer((), 1.0)))
    assert failures(slow, EvalGates(max_slower=10_000)) == ()
    (reason,) = failures(slow, EvalGates(max_slower=5000))
    assert "2.00 s, 1's 1.00 s: more than 50% slower" in reason


def test_prompts_of_the_same_name_are_told_apart() -> None:
    line = '{"name": "a", "request": {"prompt": "x"}, "expect": {"status": 200}}'
    other = line.replace('"a"', '"b"')
    one = Prompts("golden prompts", parse_golden(line, "g"))
    two = Prompts("more.jsonl", parse_golden(f"{line}\n{other}", "m"))
    names = [prompt.name for prompt in dataset([one, two])]
    assert names == ["golden prompts: a", "more.jsonl: a", "b"]
