"""The phases of a release, from its plan: pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tslc.domain.release.shares import scaled, share_text
from tslc.domain.releasing.plan_file import Gates, ReleasePlan, Then
from tslc.domain.router.table import WHOLE


@dataclass(frozen=True)
class Load:
    """Onto every node, without traffic."""

    def __str__(self) -> str:
        return "load it, without traffic"


@dataclass(frozen=True)
class Evaluate:
    def __str__(self) -> str:
        return "evaluate it"


@dataclass(frozen=True)
class Split:
    share: int

    def __str__(self) -> str:
        return f"give it {share_text(self.share)} of the traffic"


@dataclass(frozen=True)
class Baking:
    seconds: float
    gates: Gates

    def __str__(self) -> str:
        return f"watch it for {self.seconds:g} s"


@dataclass(frozen=True)
class Pause:
    def __str__(self) -> str:
        return "pause, until somebody says --continue"


@dataclass(frozen=True)
class Promote:
    def __str__(self) -> str:
        return "give it all traffic"


Phase = Load | Evaluate | Split | Baking | Pause | Promote


def phases(plan: ReleasePlan, *, first: bool) -> tuple[Phase, ...]:
    """`first`: no version of the model is served, so there is nothing to divide."""
    evaluate: tuple[Phase, ...] = (Evaluate(),) if plan.evaluate is not None else ()
    if first:
        return (Promote(), *evaluate)
    found: list[Phase] = [Load(), *evaluate]
    for step in plan.steps:
        found.append(Split(step.split))
        if step.bake:
            found.append(Baking(step.bake, plan.gates))
        if step.pause:
            found.append(Pause())
    return (*found, Promote()) if plan.then is Then.PROMOTE else tuple(found)


def shares_at(phase: Phase, before: Mapping[str, int] | None, version: str) -> dict[str, int]:
    """What the split is to be in a phase that changes it: the others keep their proportions."""
    match phase:
        case Load():
            return {**(before or {}), version: 0}
        case Split(share) if before is not None and share < WHOLE:
            others = {one: held for one, held in before.items() if held}
            rest = {one: held * (WHOLE - share) for one, held in others.items()}
            scaled_rest = scaled({**rest, version: share * sum(others.values())})
            return {**dict.fromkeys(before, 0), **scaled_rest}
        case _:
            return {version: WHOLE}
