"""Beginning a release, or taking up the one that is under way."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tslc.adapters.clock import now
from tslc.adapters.environment_objects import EnvironmentObjects, LostRace
from tslc.adapters.release_objects import ReleaseObjects, TaggedRelease
from tslc.adapters.s3_store import S3Store
from tslc.domain.release.state import Strategy
from tslc.domain.releasing.document import Release, State
from tslc.domain.releasing.phases import phases
from tslc.domain.releasing.plan_file import ReleasePlan
from tslc.domain.router.table import WHOLE
from tslc.errors import BadInput, Refused
from tslc.verbs.environment import current
from tslc.verbs.store_access import read_manifest


@dataclass(frozen=True)
class ReleaseWish:
    """`plan` None: that of the release under way; `data`: its files. `onward`: past a pause.
    `slice`: of a job that comes again and again; anybody else who takes a release up gives the
    phase it is in its whole time again. `origin`: what it is part of; a release of the same origin
    that has ended is not begun again."""

    environment: str
    model: str
    version: str
    who: str
    why: str = ""
    plan: ReleasePlan | None = None
    data: Mapping[str, str] = field(default_factory=dict)
    onward: bool = False
    slice: bool = False
    origin: str = ""


def begin(store: S3Store, wish: ReleaseWish) -> TaggedRelease:
    """The release to go on with, and from now on ours.

    Raises BadInput without a plan where there is no release to go on with, and for a version that
    is not in the store; Refused while another version is being released, for another plan than
    that of the release under way, and for a version that has traffic already.
    """
    objects = ReleaseObjects(store, wish.environment)
    found = objects.read(wish.model)
    if found is not None and not found.release.state.ended:
        return _take_up(objects, found, wish)
    if found is not None and _is_over(store, wish, found.release):
        return found
    if wish.onward:
        raise Refused(f"no release of {wish.model} {wish.version} is under way")
    if wish.plan is None:
        raise BadInput("no plan", hint="--plan release.yaml")
    read_manifest(store, wish.model, wish.version)
    release = _new(wish, wish.plan, _shares(store, wish))
    try:
        return objects.write(release, found.tag if found else None)
    except LostRace as lost:
        raise Refused(f"somebody else began a release meanwhile: {lost.message}") from None


def _is_over(store: S3Store, wish: ReleaseWish, last: Release) -> bool:
    """Whether this very release ended already: asked again, it is as it ended. One that nobody can
    tell from a new wish is it while it holds."""
    if wish.origin and (last.origin, last.version) == (wish.origin, wish.version):
        return True
    if last.state is not State.DONE or last.version != wish.version:
        return False
    objects = EnvironmentObjects(store, wish.environment)
    there = current(objects, objects.read_state()).models.get(wish.model)
    return there is not None and there.shares.get(wish.version) == WHOLE


def planned(store: S3Store, wish: ReleaseWish) -> tuple[str, ...]:
    """What going on would do, a line each. Raises as `begin` does, but for a version that is not
    in the store yet."""
    found = ReleaseObjects(store, wish.environment).read(wish.model)
    if found is not None and not found.release.state.ended:
        release = found.release
        _expect_same(release, wish)
        return _lines(release.plan, release.before, release.step)
    if wish.plan is None:
        raise BadInput("no plan", hint="--plan release.yaml")
    return _lines(wish.plan, _shares(store, wish), 0)


def _lines(plan: ReleasePlan, before: Mapping[str, int] | None, done: int) -> tuple[str, ...]:
    return tuple(str(one) for one in phases(plan, first=before is None)[done:])


def _expect_same(release: Release, wish: ReleaseWish) -> None:
    """Raises Refused when it is another release that is under way."""
    named = f"{release.model} {release.version}"
    if release.version != wish.version:
        raise Refused(
            f"{named} is being released in {wish.environment}, by {release.runner}",
            hint=f"tslc release --stored {release.model} --env {wish.environment} "
            f"--version {release.version} --abort",
        )
    if wish.plan is not None and wish.plan != release.plan:
        raise Refused(
            f"{named} is being released by another plan than this one",
            hint="go on without --plan, or --abort that release first",
        )


def _take_up(objects: ReleaseObjects, found: TaggedRelease, wish: ReleaseWish) -> TaggedRelease:
    release = found.release
    _expect_same(release, wish)
    at = now().isoformat(timespec="seconds")
    keeps = wish.slice or release.bake is not None
    ours = replace(release, runner=wish.who, since=release.since if keeps else at)
    if release.state is State.PAUSED and wish.onward:
        ours = replace(ours, state=State.RUNNING).next_step(at).told(at, f"{wish.who}: go on")
    try:
        return objects.write(ours, found.tag)
    except LostRace:
        named = f"{release.model} {release.version}"
        raise Refused(f"somebody else goes on with the release of {named} just now") from None


def _shares(store: S3Store, wish: ReleaseWish) -> Mapping[str, int] | None:
    """What is served before the release; None: nothing of the model."""
    objects = EnvironmentObjects(store, wish.environment)
    before = current(objects, objects.read_state()).models.get(wish.model)
    if before is None:
        return None
    if before.strategy is Strategy.RECREATE:
        raise Refused(
            f"{wish.model} has the strategy recreate: two versions of it never run side by side",
            hint=f"tslc promote {wish.model} {wish.version} --env {wish.environment}",
        )
    share = before.shares.get(wish.version, 0)
    if share == WHOLE:
        raise Refused(f"{wish.model} {wish.version} has all traffic of {wish.environment} already")
    if share:
        raise Refused(
            f"{wish.model} {wish.version} has traffic in {wish.environment} already",
            hint=f"tslc promote {wish.model} {wish.version} --env {wish.environment}   # or roll "
            "back first",
        )
    return {one: held for one, held in before.shares.items() if one != wish.version}


def _new(wish: ReleaseWish, plan: ReleasePlan, before: Mapping[str, int] | None) -> Release:
    at = now().isoformat(timespec="seconds")
    return Release(
        id=uuid.uuid4().hex[:12],
        environment=wish.environment,
        model=wish.model,
        version=wish.version,
        plan=plan,
        who=wish.who,
        why=wish.why,
        runner=wish.who,
        began=at,
        since=at,
        before=before,
        shares=dict(before or {}),
        data=wish.data,
        origin=wish.origin,
    ).told(at, f"begun by {wish.who}")
