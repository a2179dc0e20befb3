"""release.yaml: how a version gets its traffic, and what it has to hold meanwhile.

evaluate:                  # before the first user: more prompts than the golden ones
  data: [questions.jsonl]
  against: current         # the version with the most traffic, or one by name
  min_pass: 100%
  no_regression: true
  max_slower: 25%
steps:
  - {split: 1%, bake: 10m}
  - {split: 50%, pause: true}
gates:                     # of the new version, while it bakes
  errors: 1%
  latency_p99: 30s
  min_requests: 50
patience: 1h               # how long a bake waits for so many requests
then: promote              # or stay
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Any

from tslc.domain.evaluation import EvalGates
from tslc.domain.marked_yaml import YamlProblem, read_yaml
from tslc.domain.release.shares import WrongShare, read_share
from tslc.domain.router.table import WHOLE
from tslc.domain.vocabulary import unknown_word
from tslc.errors import BadFile, Mistake

CURRENT = "current"
KEYS = ("evaluate", "steps", "gates", "patience", "then")
EVALUATE_KEYS = ("data", "against", "min_pass", "no_regression", "max_slower")
STEP_KEYS = ("split", "bake", "pause")
GATE_KEYS = ("errors", "latency_p50", "latency_p90", "latency_p95", "latency_p99", "min_requests")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[smhd])+")
_LATENCY = re.compile(r"latency_p(\d\d)")


class Then(StrEnum):
    PROMOTE = "promote"
    STAY = "stay"


@dataclass(frozen=True)
class Evaluating:
    """`data`: files beside the plan. `against`: a version, `current`, or None: alone."""

    data: tuple[str, ...] = ()
    against: str | None = None
    gates: EvalGates = field(default_factory=EvalGates)


@dataclass(frozen=True)
class Step:
    """`split`: the new version's share, in hundredths of a percent. `bake`: seconds. `pause`: it
    stays until somebody says go on."""

    split: int
    bake: float = 0.0
    pause: bool = False


@dataclass(frozen=True)
class Gates:
    """What the new version has to hold while it bakes. `errors`: the most of its answers that may
    be 5xx, in hundredths of a percent, None: any; `latency`: seconds by percentile."""

    errors: int | None = None
    latency: Mapping[str, float] = field(default_factory=dict)
    min_requests: int = 50


@dataclass(frozen=True)
class ReleasePlan:
    """`patience`: seconds a bake waits for the requests it needs to judge."""

    steps: tuple[Step, ...]
    gates: Gates
    evaluate: Evaluating | None = None
    patience: float = 3600.0
    then: Then = Then.PROMOTE


def parse_plan(text: str, subject: str) -> ReleasePlan:
    """Raises BadFile with every mistake."""
    reader = _Reader()
    plan = reader.plan(text)
    if reader.mistakes or plan is None:
        raise BadFile(subject, reader.mistakes)
    return plan


class _Reader:
    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []

    def wrong(self, where: str, problem: str, fix: str) -> None:
        self.mistakes.append(Mistake(where, problem, fix))

    def plan(self, text: str) -> ReleasePlan | None:
        try:
            root, duplicates = read_yaml(text)
        except YamlProblem as problem:
            self.wrong(f"line {problem.line}", problem.problem, "write `key: value` lines")
            return None
        for one in duplicates:
            self.wrong(".".join(one.path), "the key stands twice", f"keep line {one.line}")
        said = self.section(root.value, "", KEYS)
        steps = tuple(self.steps(said.get("steps")))
        plan = ReleasePlan(
            steps,
            self.gates(self.section(said.get("gates"), "gates", GATE_KEYS)),
            self.evaluating(said["evaluate"]) if "evaluate" in said else None,
            self.duration("patience", said.get("patience"), ReleasePlan.patience),
            self.then(said.get("then", "promote")),
        )
        shares = [step.split for step in steps]
        if not self.mistakes and any(a >= b for a, b in pairwise(shares)):
            self.wrong("steps", "the shares don't grow", "write each step's split above the last's")
        return plan

    def section(self, value: object, where: str, keys: tuple[str, ...]) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.wrong(where or "the file", "not a mapping of keys", "write its keys below it")
            return {}
        for key in value:
            if key not in keys:
                place = f"{where}.{key}" if where else str(key)
                self.mistakes.append(unknown_word(place, str(key), keys))
        return {key: one for key, one in value.items() if key in keys and one is not None}

    def steps(self, value: object) -> Iterator[Step]:
        if not isinstance(value, list) or not value:
            self.wrong("steps", "none", "write a list, such as [{split: 10%, bake: 10m}]")
            return
        for number, one in enumerate(value, 1):
            where = f"steps[{number}]"
            said = self.section(one, where, STEP_KEYS)
            share = self.share(f"{where}.split", said.get("split"))
            if share is not None and not 0 < share <= WHOLE:
                self.wrong(f"{where}.split", "no share of the traffic", "write 1% to 100%")
            bake = self.duration(f"{where}.bake", said.get("bake"), 0.0)
            yield Step(share or 0, bake, self.flag(f"{where}.pause", said.get("pause", False)))

    def gates(self, said: Mapping[str, Any]) -> Gates:
        latency = {
            match[1]: self.duration(f"gates.{key}", value, 0.0)
            for key, value in said.items()
            if (match := _LATENCY.fullmatch(key))
        }
        least = said.get("min_requests", Gates.min_requests)
        if not isinstance(least, int) or isinstance(least, bool) or least < 0:
            self.wrong("gates.min_requests", f"{least!r} is not a number of requests", "write 50")
            least = 0
        return Gates(self.share("gates.errors", said.get("errors")), latency, least)

    def evaluating(self, value: object) -> Evaluating:
        said = self.section(value, "evaluate", EVALUATE_KEYS)
        data = said.get("data", [])
        if not isinstance(data, list) or not all(isinstance(one, str) for one in data):
            self.wrong("evaluate.data", "not a list of files", "write [questions.jsonl]")
            data = []
        against = said.get("against")
        least = self.share("evaluate.min_pass", said.get("min_pass", "100%"))
        gates = EvalGates(
            WHOLE if least is None else least,
            self.flag("evaluate.no_regression", said.get("no_regression", False)),
            self.share("evaluate.max_slower", said.get("max_slower")),
        )
        if gates.compares and against is None:
            self.wrong("evaluate.against", "missing", "no_regression and max_slower need it")
        return Evaluating(tuple(data), None if against is None else str(against), gates)

    def then(self, value: object) -> Then:
        if value not in list(Then):
            self.wrong("then", f"{value!r}", "write promote or stay")
            return Then.PROMOTE
        return Then(str(value))

    def flag(self, where: str, value: object) -> bool:
        if not isinstance(value, bool):
            self.wrong(where, f"{value!r} is neither true nor false", "write true or false")
        return bool(value)

    def share(self, where: str, value: object) -> int | None:
        if value is None:
            return None
        try:
            return read_share(str(value))
        except WrongShare as wrong:
            self.wrong(where, str(wrong), "write a number from 0 to 100, such as 10%")
            return None

    def duration(self, where: str, value: object, default: float) -> float:
        if value is None:
            return default
        text = str(value).replace(" ", "")
        if not _DURATION.fullmatch(text):
            self.wrong(where, f"{value!r} is no duration", "write 30s, 10m, 1h30m or 2d")
            return default
        parts = re.findall(r"([\d.]+)([smhd])", text)
        return sum(float(number) * _UNITS[unit] for number, unit in parts)
