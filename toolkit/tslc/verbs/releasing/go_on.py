"""Going on with a release: phase by phase, each of which may be cut short anywhere.

What was done is written down before the next thing begins, and doing a thing twice is doing it
once. Who finds that the release, or the model's traffic, was changed by somebody else leaves it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from tslc.adapters.clock import Deadline, now
from tslc.adapters.environment_objects import EnvironmentObjects, LostRace
from tslc.adapters.release_objects import ReleaseObjects, TaggedRelease
from tslc.adapters.s3_store import S3Store
from tslc.domain.release.changes import SplitWish, promote, split
from tslc.domain.release.report import Goal, Reported
from tslc.domain.release.state import ModelState, Strategy
from tslc.domain.releasing.bake import Bake, breaches
from tslc.domain.releasing.document import Release, State
from tslc.domain.releasing.phases import (
    Baking,
    Evaluate,
    Load,
    Pause,
    Phase,
    Promote,
    Split,
    phases,
    shares_at,
)
from tslc.domain.trust import Check
from tslc.errors import NotRunning, Refused, RemoteFailed
from tslc.verbs.environment import Telling, change_model, current, strategy_of, wait

LOAD_SECONDS = 1800.0
_LOOK_EVERY = 1.0
_SAVE_EVERY = 10.0
_RACES = 8


@dataclass(frozen=True)
class Evaluated:
    """`reasons`: why the version may not go on; `summary` for whoever reads the release."""

    reasons: tuple[str, ...]
    summary: Mapping[str, Any]


@dataclass
class Runner:
    """Goes on with one release until it ends, pauses, or the time is over.

    `evaluate` asks the version its prompts; `say` is told of each step, `watch` how a bake goes.
    """

    store: S3Store
    check: Check
    strategy: Strategy
    evaluate: Callable[[Release], Evaluated]
    held: TaggedRelease
    say: Callable[[str], None] = lambda _: None
    watch: Callable[[str], None] = lambda _: None
    _objects: ReleaseObjects = field(init=False)

    def __post_init__(self) -> None:
        self._objects = ReleaseObjects(self.store, self.release.environment)

    @property
    def release(self) -> Release:
        return self.held.release

    @property
    def phases(self) -> tuple[Phase, ...]:
        return phases(self.release.plan, first=self.release.before is None)

    def run(self, until: Deadline) -> Release:
        """Raises Refused when another one has taken the release over, NotRunning when no node is
        there, RemoteFailed when the store is not."""
        while self.release.state is State.RUNNING and until.left > 0:
            if self.release.step >= len(self.phases):
                self._end(State.DONE)
                break
            phase = self.phases[self.release.step]
            try:
                self._carry_out(phase, until)
            except _Superseded as superseded:
                self._end(State.SUPERSEDED, superseded.message)
            except _Failed as failed:
                self.take_back(failed.message)
        return self.release

    def take_back(self, reason: str) -> Release:
        """The traffic as it was before; the version stays loaded for whoever looks into it."""
        release = self.release
        self.say(f"taking {release.model} {release.version} back: {reason}")
        before = release.before
        back = {**before, release.version: 0} if before and release.step else before
        try:
            self._change(lambda old: None if back is None else self._split(old, back), reason)
        except _Superseded as superseded:
            self._end(State.SUPERSEDED, f"{reason}; then {superseded.message}")
            return self.release
        self._end(State.TAKEN_BACK, reason)
        return self.release

    # --- the phases --------------------------------------------------------------------------

    def _carry_out(self, phase: Phase, until: Deadline) -> None:
        if not isinstance(phase, Baking):
            self.say(f"step {self.release.step + 1} of {len(self.phases)}: {phase}")
        match phase:
            case Load() | Split() | Promote():
                self._move(phase, until)
            case Evaluate():
                self._evaluate()
            case Baking():
                self._bake(phase, until)
            case Pause():
                self._save(replace(self.release, state=State.PAUSED), "paused")

    def _move(self, phase: Load | Split | Promote, until: Deadline) -> None:
        """Change the split, and wait until every node has it."""
        release = self.release
        shares = shares_at(phase, release.before, release.version)
        if isinstance(phase, Promote):
            generation = self._change(lambda old: self._promote(old), str(phase), shares)
        else:
            generation = self._change(lambda old: self._split(old, shares), str(phase), shares)
        loaded = (*(one for one, share in shares.items() if share), release.version)
        self._save(replace(self.release, shares=shares))
        goal = Goal(generation, release.model, tuple(dict.fromkeys(loaded)))
        if self._wait(goal, until):
            self._save(self.release.next_step(_at()), f"{phase}: done")

    def _wait(self, goal: Goal, until: Deadline) -> bool:
        """Whether every node is there; False: our time is over. Raises _Failed when one can't, or
        has not come to it in LOAD_SECONDS."""
        late = LOAD_SECONDS - _seconds_since(self.release.since)
        try:
            wait(self.store, self.release.environment, goal, max(0.0, min(until.left, late)))
        except Refused as refused:
            raise _Failed(refused.message) from None
        except NotRunning:
            raise
        except RemoteFailed as slow:
            if until.left > 0 and late <= 0:
                raise _Failed(slow.message) from None
            return False
        return True

    def _evaluate(self) -> None:
        found = self.evaluate(self.release)
        self._save(replace(self.release, evaluation=dict(found.summary)))
        if found.reasons:
            raise _Failed("; ".join(found.reasons))
        self._save(self.release.next_step(_at()), "evaluated: passed")

    def _bake(self, phase: Baking, until: Deadline) -> None:
        """Until its time is over and enough requests were there, or a gate breaks."""
        if self.release.bake is None:
            at = _at()
            begun = Bake(at).take(self.release.model, self.release.version, self._reports())
            self._save(replace(self.release, since=at, bake=begun))
            self.say(f"step {self.release.step + 1} of {len(self.phases)}: {phase}")
        saved = Deadline(_SAVE_EVERY)
        for _ in until.rounds(_LOOK_EVERY):
            self._expect_ours()
            spent = _seconds_since(self.release.since)
            reports = self._reports()
            baked = self._look(reports)
            self.watch(f"{max(0.0, phase.seconds - spent):.0f} s left, {_counted(baked)}")
            if reasons := breaches(baked.traffic, phase.gates):
                raise _Failed("; ".join(reasons))
            # What is judged at the end has to be what the nodes said after it.
            over = spent - phase.seconds
            fresh = over >= 0 and all(one.age <= over for one in reports if one.live)
            if fresh and self._enough(phase, over):
                self._save(self.release.next_step(_at()), f"{phase}: {_counted(baked)}")
                return
            if saved.left <= 0:
                self._save(self.release)
                saved = Deadline(_SAVE_EVERY)

    def _look(self, reports: Sequence[Reported]) -> Bake:
        """The counts, once more."""
        baked = (self.release.bake or Bake(self.release.since)).take(
            self.release.model, self.release.version, reports
        )
        self.held = replace(self.held, release=replace(self.release, bake=baked))
        return baked

    def _enough(self, phase: Baking, over: float) -> bool:
        """Whether there were requests enough to judge. Raises _Failed when the patience is over."""
        seen = self.release.bake.traffic.requests if self.release.bake else 0
        least = phase.gates.min_requests
        if seen < least and over >= self.release.plan.patience:
            raise _Failed(f"only {seen} of the {least} requests that are needed to judge it came")
        return seen >= least

    # --- what all use ------------------------------------------------------------------------

    def _reports(self) -> tuple[Reported, ...]:
        return EnvironmentObjects(self.store, self.release.environment).reports()

    def _split(self, old: ModelState | None, shares: Mapping[str, int]) -> ModelState:
        mine = old and old.shadow and old.shadow.version == self.release.version
        wish = SplitWish(shares, no_shadow=bool(mine))
        return split(old, wish, strategy_of(None, old, self.strategy))

    def _promote(self, old: ModelState | None) -> ModelState:
        return promote(old, self.release.version, strategy_of(None, old, self.strategy))

    def _change(
        self,
        decide: Callable[[ModelState | None], ModelState | None],
        why: str,
        wanted: Mapping[str, int] | None = None,
    ) -> int:
        """The generation that holds then. Raises _Failed where the change is refused."""
        release = self.release

        def checked(old: ModelState | None) -> ModelState | None:
            self._expect_shares(old, wanted)
            return decide(old)

        what = f"release {release.model} {release.version}"
        telling = Telling(release.runner, f"release {release.id}: {why}", what)
        for left in reversed(range(_RACES)):
            try:
                done = change_model(
                    *(self.store, release.environment, release.model, checked, telling, self.check)
                )
            except _Superseded:
                raise
            except LostRace:
                # Most often another model's change; if it was ours, the next look says so.
                if not left:
                    raise
            except Refused as refused:
                raise _Failed(refused.message) from None
            else:
                return done.generation
        raise AssertionError

    def _expect_ours(self) -> None:
        objects = EnvironmentObjects(self.store, self.release.environment)
        state = current(objects, objects.read_state())
        self._expect_shares(state.models.get(self.release.model), None)

    def _expect_shares(self, old: ModelState | None, wanted: Mapping[str, int] | None) -> None:
        """The traffic is as this release left it, or as it was just about to have it."""
        there = _with_traffic(old.shares if old else {})
        ours = [_with_traffic(self.release.shares)]
        ours += [_with_traffic(wanted)] if wanted is not None else []
        if there not in ours:
            raise _Superseded(self._who_changed())

    def _who_changed(self) -> str:
        objects = EnvironmentObjects(self.store, self.release.environment)
        change = current(objects, objects.read_state()).change
        why = f" ({change.why})" if change.why else ""
        return f"the traffic was changed by {change.who}: {change.what}{why}"

    def _end(self, state: State, reason: str = "") -> None:
        self._write(self.release.ended(_at(), state, reason))

    def _save(self, release: Release, told: str = "") -> None:
        self._write(release.told(_at(), told) if told else release)

    def _write(self, release: Release) -> None:
        try:
            self.held = self._objects.write(release, self.held.tag)
        except LostRace:
            named = f"{release.model} {release.version}"
            raise Refused(
                f"somebody else goes on with the release of {named}: this command leaves it",
                hint=f"tslc history --env {release.environment}",
            ) from None


class _Superseded(Refused):
    """The model's traffic is another's business now."""


class _Failed(Refused):
    """The version may not go on."""


def _with_traffic(shares: Mapping[str, int]) -> dict[str, int]:
    return {version: share for version, share in shares.items() if share}


def _counted(bake: Bake) -> str:
    return f"{bake.traffic.requests} requests, {bake.traffic.errors} errors"


def _at() -> str:
    return now().isoformat(timespec="milliseconds")


def _seconds_since(moment: str) -> float:
    return (now() - datetime.fromisoformat(moment)).total_seconds()
