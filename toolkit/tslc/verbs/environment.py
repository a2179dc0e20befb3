"""Changing what an environment is to serve: read, decide, write if nobody else did meanwhile.

Every check comes before the write, and the write is one object: nothing is ever half-done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tslc.adapters.blob_inventory import read_blob
from tslc.adapters.clock import Deadline, now
from tslc.adapters.environment_objects import EnvironmentObjects, LostRace, TaggedState
from tslc.adapters.parallel import at_once
from tslc.adapters.s3_store import S3Store
from tslc.domain.archive_contents import MODEL_CONFIG_NAME
from tslc.domain.archive_name import model_name_problem
from tslc.domain.config_document import read_document
from tslc.domain.provenance import printable
from tslc.domain.release.changes import words_of
from tslc.domain.release.report import Goal, Progress, Reach, Reported, progress
from tslc.domain.release.room import Need, NodePlan, estimated, measured, node_plan
from tslc.domain.release.state import Change, EnvironmentState, ModelState, Strategy
from tslc.domain.store_layout import ARCHIVE, WEIGHTS
from tslc.domain.store_manifest import Kind, StoreManifest
from tslc.domain.store_plan import Blob
from tslc.domain.trust import Check, Version
from tslc.errors import BadInput, NotRunning, Refused, RemoteFailed
from tslc.verbs.store_access import expect_itself, read_manifest, read_signature

Decide = Callable[[ModelState | None], ModelState | None]
_WAIT_ROUND = 0.2


@dataclass(frozen=True)
class Telling:
    """Who changes, why, and with which command."""

    who: str
    why: str
    what: str

    def at(self, moment: datetime) -> Change:
        when = moment.astimezone(UTC).isoformat(timespec="milliseconds")
        return Change(*(printable(text) for text in (self.who, when, self.why, self.what)))


@dataclass(frozen=True)
class Changed:
    """`generation`: of the state that holds now; `written`: it is new. In a dry run nothing is.

    `words`: what changes; `plans`: what each node that reports would do.
    """

    environment: str
    model: str
    generation: int
    words: tuple[str, ...]
    after: ModelState | None
    written: bool = False
    plans: tuple[NodePlan, ...] = ()
    trust: Mapping[str, str] = field(default_factory=dict)


def change_model(
    store: S3Store,
    environment: str,
    model: str,
    decide: Decide,
    telling: Telling,
    check: Check,
    *,
    dry_run: bool = False,
) -> Changed:
    """Change one model of an environment by `decide`, which gets its state and gives the next.

    Raises what `decide` raises; BadInput for a version that is not in the store; Refused for one
    the environment does not trust, for a node without room, and when somebody else changed the
    environment meanwhile: then that change is told, and nothing is written.
    """
    if problem := model_name_problem(model):
        raise BadInput(f"model: {problem}")
    objects = EnvironmentObjects(store, environment)
    found = objects.read_state()
    state = current(objects, found)
    before = state.models.get(model)
    after = decide(before)
    words = words_of(before, after)
    if after == before:
        return Changed(environment, model, state.generation, (), after)
    new = [one for one in (after.versions if after else ()) if not _has(before, one)]
    manifests = at_once(lambda version: read_manifest(store, model, version), new)
    _expect_shadow(store, model, after)
    trust = {one.version: _trusted(store, one, check) for one in manifests}
    # Where nothing is to be loaded there is nothing to refuse, and a rollback is in a hurry.
    planned = bool(new) or dry_run
    plans = _plans(store, objects, model, before, after, manifests) if planned else ()
    refusals = [plan.refusal for plan in plans if plan.refusal]
    if refusals and not dry_run:
        hint = "add --strategy recreate: the old version goes first"
        raise Refused("\n    ".join(refusals), hint=hint)
    done = Changed(environment, model, state.generation, words, after, plans=plans, trust=trust)
    if dry_run:
        return done
    models = {name: one for name, one in state.models.items() if name != model}
    models |= {model: after} if after else {}
    new_state = write(objects, found, telling, models=models)
    return Changed(
        environment, model, new_state.generation, words, after, written=True, trust=trust
    )


def write(
    objects: EnvironmentObjects, found: TaggedState | None, telling: Telling, **changed: object
) -> EnvironmentState:
    """The next generation. Raises Refused when somebody else wrote it first."""
    state = current(objects, found)
    if found is not None:
        # A writer that died after its state left this to us.
        objects.write_entry(state)
    new = state.following(telling.at(now()), **changed)
    try:
        objects.write_state(new, found.tag if found else None)
    except LostRace:
        raise _lost(objects, state) from None
    return new


def current(objects: EnvironmentObjects, found: TaggedState | None) -> EnvironmentState:
    """The state that was found; an empty one where there has been none.

    Raises Refused when there was one and it is gone: the next change would begin at nothing.
    """
    if found is not None:
        return found.state
    if generations := objects.generations():
        last = generations[-1]
        raise Refused(
            f"the state of {objects.environment} is gone, and its history has {last} generations",
            hint=f"copy history/{last:010d}.json of {objects.environment} to state.json beside it",
        )
    return EnvironmentState(objects.environment)


def _expect_shadow(store: S3Store, model: str, after: ModelState | None) -> None:
    """Raises Refused: requests to an archive that is not ours are not copied."""
    if after is None or after.shadow is None:
        return
    if read_manifest(store, model, after.shadow.version).kind is Kind.FOREIGN:
        raise Refused(f"{model} is an archive that others built: it can have no shadow")


def _lost(objects: EnvironmentObjects, ours: EnvironmentState) -> LostRace:
    theirs = objects.read_state()
    if theirs is None:
        return LostRace(f"the state of {objects.environment} was deleted meanwhile")
    change = theirs.state.change
    why = f" ({change.why})" if change.why else ""
    return LostRace(
        f"{objects.environment} was changed meanwhile, to generation {theirs.state.generation}, by "
        f"{change.who}: {change.what}{why}; nothing was written",
        hint=f"tslc history --env {objects.environment}   # then decide again",
    )


def _has(before: ModelState | None, version: str) -> bool:
    return before is not None and version in before.versions


def _trusted(store: S3Store, manifest: StoreManifest, check: Check) -> str:
    expect_itself(store, manifest)
    signature = read_signature(store, manifest.model, manifest.version)
    return check(Version.stored(manifest), signature)


def _plans(
    store: S3Store,
    objects: EnvironmentObjects,
    model: str,
    before: ModelState | None,
    after: ModelState | None,
    manifests: Sequence[StoreManifest],
) -> tuple[NodePlan, ...]:
    reports = [one.report for one in objects.reports() if one.live]
    versions = after.versions if after else ()
    known = {one.version: one for one in manifests}
    needs = {
        version: measured(model, version, reports)
        or estimate(store, known.get(version) or read_manifest(store, model, version))
        for version in versions
    }
    return tuple(node_plan(model, before, after, one, needs) for one in reports)


def estimate(store: S3Store, manifest: StoreManifest) -> Need:
    """The memory a version of the store takes, as far as its files tell."""
    weights = sum(entry.size for entry in manifest.below(WEIGHTS).values())
    path = f"{ARCHIVE}{MODEL_CONFIG_NAME}"
    entry = manifest.files.get(path)
    if manifest.kind is not Kind.TSLC or entry is None:
        return estimated(manifest.size, {})
    text = read_blob(store, Blob(entry.sha256, entry.size, path)).decode("utf-8", "replace")
    return estimated(weights, read_document(text).section())


def strategy_of(stated: str | None, before: ModelState | None, default: Strategy) -> Strategy:
    """The one that was asked for, the model's own, or the environment's."""
    if stated is not None:
        return Strategy(stated)
    return before.strategy if before else default


# --- waiting ---------------------------------------------------------------------------------


def goal_of(changed: Changed, *, loaded: bool, gone: tuple[str, ...]) -> Goal:
    """`loaded`: every version is to be ready, not only those with traffic; `gone`: versions that
    are to be unloaded."""
    shares = changed.after.shares if changed.after else {}
    serving = tuple(version for version, share in shares.items() if share or loaded)
    return Goal(changed.generation, changed.model, serving, gone)


def wait(
    store: S3Store,
    environment: str,
    goal: Goal,
    seconds: float,
    report: Callable[[Progress], None] = lambda _: None,
) -> tuple[Progress, tuple[Reported, ...]]:
    """Wait until every live node has reached the goal.

    Raises Refused with the reason when a node can't, NotRunning when no node reports, RemoteFailed
    when the time is over: the change stays, and the nodes go on.
    """
    objects = EnvironmentObjects(store, environment)
    seen: tuple[Reported, ...] = ()
    come = Progress(Reach.UNDER_WAY, 0, 0)
    for _ in Deadline(seconds).rounds(_WAIT_ROUND):
        seen = objects.reports()
        come = progress(goal, seen)
        report(come)
        if come.reach is Reach.DONE:
            return come, seen
        if come.reach is Reach.FAILED:
            told = [f"{node}: {why}" for node, why in sorted(come.failed.items())]
            raise Refused(
                "\n    ".join([f"generation {goal.generation} can't be had:", *told]),
                hint=f"traffic stays where it was; tslc rollback {goal.model} --env {environment}",
            )
    if not come.nodes:
        raise NotRunning(
            f"no node reports for {environment}: the change is written, nobody carries it out",
            hint=f"tslc up --environment {environment}   # on a node",
        )
    told = [f"{node}: {why}" for node, why in sorted(come.pending.items())]
    raise RemoteFailed(
        "\n    ".join([f"generation {goal.generation} is not reached in {seconds:g} s:", *told]),
        hint=f"tslc status --env {environment} --watch   # the nodes go on",
    )
