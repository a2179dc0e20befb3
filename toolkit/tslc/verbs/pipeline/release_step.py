"""Where the worker meets `tslc release`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tslc.adapters.build_environment import who
from tslc.adapters.clock import Deadline
from tslc.adapters.release_objects import ReleaseObjects
from tslc.adapters.s3_store import S3Store
from tslc.domain.node import DEFAULT_NODE, home_folder
from tslc.domain.pipeline.step import Phase, ReleaseStep, ReleaseWish, StepResult, Stopping
from tslc.domain.releasing.document import Release, State
from tslc.domain.releasing.phases import phases
from tslc.domain.settings import Settings
from tslc.verbs.releasing import begin
from tslc.verbs.releasing.release import Releasing, read_plan

# So soon a worker that is to end, or a release that was paused, is noticed; in seconds.
_STRETCH = 5.0
_LOOK_EVERY = 1.0
_PHASES = {
    State.RUNNING: Phase.RUNNING,
    State.PAUSED: Phase.PAUSED,
    State.DONE: Phase.DONE,
    State.TAKEN_BACK: Phase.TAKEN_BACK,
    State.SUPERSEDED: Phase.TAKEN_BACK,
}


def release_step(
    wish: ReleaseWish,
    settings: Settings,
    store: S3Store,
    environ: Mapping[str, str],
    url: str | None = None,
    api_key: str | None = None,
) -> ReleaseStep:
    """The release that is wished, whether it has begun or not. Asks nothing of the store yet.

    `url`: a router to evaluate versions through.
    """
    home = home_folder(environ).absolute()
    releasing = Releasing(store, settings, Path(home), DEFAULT_NODE, url, api_key)
    return _StoredRelease(wish, releasing, who(environ))


@dataclass(frozen=True)
class _StoredRelease:
    wish: ReleaseWish
    releasing: Releasing
    who: str

    def go_on(self, seconds: float, stopping: Stopping) -> StepResult:
        wish = self._begun()
        if self.wish.plan is not None:
            plan, data = read_plan(self.wish.plan)
            wish = replace(wish, plan=plan, data=data)
        release = None
        for left in Deadline(seconds).rounds(_LOOK_EVERY):
            if release is None or left > 0:
                release = self.releasing.go_on(wish, min(max(left, _LOOK_EVERY), _STRETCH))
            if release.state.ended or stopping():
                break
        assert release is not None
        return _result(release)

    def take_back(self, reason: str) -> StepResult:
        objects = ReleaseObjects(self.releasing.store, self.wish.environment)
        found = objects.read(self.wish.model)
        if found is None or found.release.version != self.wish.version:
            return StepResult(Phase.TAKEN_BACK, "it never began", 0, reason)
        if found.release.state.ended:
            return _result(found.release)
        return _result(self.releasing.abort(replace(self._begun(), why=reason)))

    def _begun(self) -> begin.ReleaseWish:
        one = self.wish
        return begin.ReleaseWish(
            *(one.environment, one.model, one.version, self.who),
            why=f"pipeline execution {one.execution}",
            origin=one.execution,
            slice=True,
        )


def _result(release: Release) -> StepResult:
    steps = phases(release.plan, first=release.before is None)
    done = len(steps) if release.state is State.DONE else min(release.step, len(steps))
    what = str(steps[release.step]) if release.step < len(steps) else release.story[-1].what
    said = what if not release.state.ended else str(release.state)
    summary = f"{release.model} {release.version} in {release.environment}: {said}"
    return StepResult(
        _PHASES[release.state], summary, 100 * done // max(1, len(steps)), release.reason
    )
