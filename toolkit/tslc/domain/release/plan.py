"""What a node does next: the difference between what it should serve and what it sees.

Pure: the agent carries the actions out, looks again and asks again, so it may be killed at any
line. Laws: a version with a place in the routes, or with a request on it, is never unloaded; no
route leads to a version that is not ready and proven; what the agent did not put there is left
alone. It makes before it breaks: the new one is in the routes before the old one is out of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tslc.domain.release.actual import Actual, Failure, Job, VersionSeen
from tslc.domain.release.routing import effective, spare
from tslc.domain.release.state import EnvironmentState, ModelState, Strategy
from tslc.domain.router.table import ModelRoute, RouterTable, Upstream, UpstreamName

# Routes reach Envoy's threads one after the other, within milliseconds.
QUIET_SECONDS = 1.0
FIRST_BACKOFF = 5.0
LONGEST_BACKOFF = 600.0


@dataclass(frozen=True)
class Start:
    """A job on a version; jobs on different versions run side by side."""

    job: Job
    name: UpstreamName


@dataclass(frozen=True)
class PublishUpstreams:
    """Give the router the table's upstreams; the routes stay."""

    table: RouterTable


@dataclass(frozen=True)
class PublishRoutes:
    """Give the router the table's routes; it has their upstreams."""

    table: RouterTable


Action = Start | PublishUpstreams | PublishRoutes


def plan(
    desired: EnvironmentState, actual: Actual, now: float, *, pinning: bool = False
) -> tuple[Action, ...]:
    """The actions that can be begun now, none of which waits for another."""
    return (*_jobs(desired, actual, now), *_publications(desired, actual, now, pinning))


def backoff(before: Failure | None, job: Job, reason: str, now: float) -> Failure:
    """A failure after `before`."""
    tries = before.tries + 1 if before is not None else 1
    return Failure(job, reason, tries, now + pause_after(tries))


def pause_after(failures: int) -> float:
    """Seconds after so many failures in a row: FIRST_BACKOFF, twice as long each time, up to ten
    minutes; none after none."""
    return min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** (failures - 1)) if failures else 0.0


# --- jobs on versions ------------------------------------------------------------------------


def _jobs(desired: EnvironmentState, actual: Actual, now: float) -> Iterator[Start]:
    if not actual.torchserve:
        return
    wanted = {
        UpstreamName(model, version): state
        for model, state in desired.models.items()
        for version in state.versions
    }
    loading = Job.LOAD in actual.jobs.values()
    for name, state in wanted.items():
        job = _job_for(name, state, actual, now) if name not in actual.jobs else None
        if job is Job.LOAD:
            # One at a time: loading takes all of a machine.
            if loading:
                continue
            loading = True
        if job is not None:
            yield Start(job, name)
    for name, seen in actual.versions.items():
        if name not in wanted and name not in actual.jobs and _may_go(name, seen, actual, now):
            yield Start(Job.UNLOAD, name)


def _job_for(name: UpstreamName, state: ModelState, actual: Actual, now: float) -> Job | None:
    failure = actual.failures.get(name)
    if failure is not None and now < failure.until:
        return None
    seen = actual.versions.get(name)
    if seen is None:
        return Job.LOAD if _may_load(name, state, actual) else None
    if seen.unproven:
        return Job.PROVE
    stuck = not seen.serving and now >= actual.grace.get(name, 0.0)
    return Job.HEAL if stuck else None


def _may_load(name: UpstreamName, state: ModelState, actual: Actual) -> bool:
    """With `recreate`, once the model's other versions are gone."""
    if state.strategy is Strategy.WARM:
        return True
    others = [one for one in actual.versions if one.model == name.model and one != name]
    # One registered by hand goes when a hand takes it off: it is not waited for.
    strangers = [
        one for one in others if one.version not in state.versions and actual.versions[one].managed
    ]
    return not strangers


def _may_go(name: UpstreamName, seen: VersionSeen, actual: Actual, now: float) -> bool:
    """Whether a version that is wanted no longer can be unloaded: the router knows it no more."""
    router = actual.router
    known = {one.name for one in router.table.upstreams}
    return (
        seen.managed
        and name not in known
        and _unrouted(name, actual, now)
        and router.upstreams_taken
        and seen.in_flight == 0
    )


def _unrouted(name: UpstreamName, actual: Actual, now: float) -> bool:
    """Whether no route leads to the version any more, and none has for a while."""
    router = actual.router
    quiet = router.routes_taken and now - router.quiet_since >= QUIET_SECONDS
    return quiet and name not in _routed(router.table)


def _routed(table: RouterTable) -> set[UpstreamName]:
    return {
        UpstreamName(one.model, version)
        for one in table.models
        for version in (
            *(segment.version for segment in one.segments),
            *one.ready,
            *one.spare,
            *([one.shadow.version] if one.shadow else []),
        )
    }


# --- what the router is given ----------------------------------------------------------------


def _publications(
    desired: EnvironmentState, actual: Actual, now: float, pinning: bool
) -> Iterator[Action]:
    if not actual.router.reachable:
        return
    table = wanted_table(desired, actual, now, pinning)
    known = actual.router.table
    if table.upstreams != known.upstreams or not actual.router.upstreams_taken:
        yield PublishUpstreams(replace(known, upstreams=table.upstreams))
        if not _only_new_doors(known, table):
            return
    if table.routes != known.routes or not actual.router.routes_taken:
        yield PublishRoutes(table)


def _only_new_doors(known: RouterTable, table: RouterTable) -> bool:
    """Whether the same upstreams stay, so that routes need not wait for them."""
    return {one.name for one in known.upstreams} == {one.name for one in table.upstreams}


def wanted_table(
    desired: EnvironmentState, actual: Actual, now: float, pinning: bool
) -> RouterTable:
    """What the router should have now: routes to what is ready there, upstreams for what serves or
    still has a request."""
    models = tuple(_route(model, state, actual) for model, state in sorted(desired.models.items()))
    return RouterTable(
        models=_without_shared_names(models),
        upstreams=tuple(_upstreams(desired, actual, now, models)),
        keys=desired.keys,
        pinning=pinning,
        bridge_key=actual.bridge_key,
    )


def _route(model: str, state: ModelState, actual: Actual) -> ModelRoute:
    gone = _making_room(model, state, actual)
    ready = frozenset[str]() if gone else _ready(model, state, actual)
    segments = effective(state, ready, actual.router.segments(model))
    shadow = state.shadow if state.shadow and state.shadow.version in ready else None
    seen = [actual.versions.get(UpstreamName(model, one)) for one in (*state.versions, *ready)]
    names = {name for one in seen if one is not None for name in one.served_names}
    return ModelRoute(
        model=model,
        segments=segments,
        ready=tuple(one for one in state.versions if one in ready),
        spare=spare(state, ready),
        sticky=state.sticky,
        shadow=shadow,
        names=tuple(sorted(names - {model})),
        bridge=any(one.bridge for one in seen if one is not None),
    )


def _ready(model: str, state: ModelState, actual: Actual) -> frozenset[str]:
    """Versions with a proven worker that the router can reach: those wanted, and those that have
    traffic until these can take it."""
    current = {one.version for one in actual.router.segments(model)}
    return frozenset(
        name.version
        for name, seen in actual.versions.items()
        if name.model == model
        and seen.serving
        and (seen.bridge or name in actual.router.active)
        and (name.version in state.versions or name.version in current)
    )


def _making_room(model: str, state: ModelState, actual: Actual) -> bool:
    """Whether this node goes without the model for a while: it is its turn to load another version
    in the place of those it has."""
    if state.strategy is Strategy.WARM or model not in actual.turn:
        return False
    loaded = {name.version for name in actual.versions if name.model == model}
    missing = set(state.versions) - loaded
    ready = any(
        seen.serving and state.shares.get(name.version)
        for name, seen in actual.versions.items()
        if name.model == model
    )
    return bool(missing) and not ready


def _without_shared_names(models: tuple[ModelRoute, ...]) -> tuple[ModelRoute, ...]:
    """A word that could mean two models means neither; a model's own name always means it."""
    count: dict[str, int] = {}
    for one in models:
        for name in {one.model, *one.names}:
            count[name] = count.get(name, 0) + 1
    return tuple(
        replace(one, names=tuple(name for name in one.names if count[name] == 1)) for one in models
    )


def _upstreams(
    desired: EnvironmentState, actual: Actual, now: float, models: tuple[ModelRoute, ...]
) -> Iterator[Upstream]:
    routed = _routed(RouterTable(models=models)) | _routed(actual.router.table)
    known = {one.name: one for one in actual.router.table.upstreams}
    wanted = {
        UpstreamName(model, version)
        for model, state in desired.models.items()
        for version in state.versions
    }
    for name in sorted({*actual.versions, *known}):
        seen = actual.versions.get(name)
        if seen is None:
            # TorchServe has it no more; its routes go first.
            if name in routed:
                yield replace(known[name], doors=())
            continue
        doors = tuple(sorted(one.door for one in seen.serving if one.door is not None))
        # One that is known stays while its worker comes back: that spares Envoy a warm-up.
        useful = name in wanted and (bool(doors) or seen.bridge or name in known)
        busy = name in known and not (_unrouted(name, actual, now) and seen.in_flight == 0)
        if useful or busy:
            yield Upstream(name, doors, seen.bridge)
