"""What a node tells the store of itself, and what the reports of all nodes come to.

A report is of what was seen, never of what was wished. Who has not reported for STALE_SECONDS, by
the store's own clock, is not counted on: a node without S3 keeps serving, but nobody can tell what.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING

from tslc.domain.archive_name import MAX_NAME, model_name_problem
from tslc.domain.manifest import canonical_json
from tslc.domain.release.actual import Actual, VersionSeen
from tslc.domain.release.shares import shares_of
from tslc.domain.release.state import EnvironmentState, ModelState
from tslc.domain.release.traffic import Traffic
from tslc.domain.router.table import UpstreamName
from tslc.errors import BadInput

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA = 1
STALE_SECONDS = 30.0
MAX_BYTES = 4 * 1024 * 1024
_IGNORE_NEWER = {"extra": "ignore"}


class Phase(StrEnum):
    WAITING = "waiting"
    LOADING = "loading"
    READY = "ready"
    RECOVERING = "recovering"
    FAILED = "failed"
    LEAVING = "leaving"


@dataclass(frozen=True)
class VersionReport:
    """`share`: hundredths of a percent it gets on this node now. `memory`: bytes its processes
    hold, None when it does not run. `traffic`: None where no request was ever drawn for it."""

    __pydantic_config__ = _IGNORE_NEWER

    phase: Phase
    share: int = 0
    workers: int = 0
    ready: int = 0
    in_flight: int | None = None
    reason: str = ""
    memory: int | None = None
    traffic: Traffic | None = None


@dataclass(frozen=True)
class ModelReport:
    """`as_desired`: the split in force is the one of the report's generation."""

    __pydantic_config__ = _IGNORE_NEWER

    as_desired: bool
    versions: Mapping[str, VersionReport] = field(default_factory=dict)


@dataclass(frozen=True)
class NodeReport:
    """`generation`: of the state it acts on. `routed`: the router has what the agent wants it to
    have. `stopped`: it said good-bye. `memory_free`: bytes, None when unknown."""

    __pydantic_config__ = _IGNORE_NEWER

    node: str
    environment: str
    generation: int
    tslc: str
    started: str
    routed: bool = False
    stopped: bool = False
    router: str = ""
    memory_total: int | None = None
    memory_free: int | None = None
    models: Mapping[str, ModelReport] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    schema: int = SCHEMA

    def render(self) -> bytes:
        return canonical_json(asdict(self))

    @property
    def gist(self) -> NodeReport:
        """The report without the numbers that change all the time."""
        models = {
            name: replace(
                one,
                versions={
                    version: replace(seen, in_flight=None, memory=None, traffic=None)
                    for version, seen in one.versions.items()
                },
            )
            for name, one in self.models.items()
        }
        return replace(self, models=models, memory_free=None)

    @property
    def divided(self) -> bool:
        """Whether some model's traffic is divided between versions."""
        return any(
            sum(1 for seen in one.versions.values() if seen.share) > 1
            for one in self.models.values()
        )

    @classmethod
    def parse(cls, content: bytes) -> NodeReport | None:
        """None for what is no report; unknown fields of a newer tslc are passed over."""
        try:
            return _schema().validate_json(content)
        except ValueError:
            return None


@cache
def _schema() -> TypeAdapter[NodeReport]:
    """Made when a report is read: pydantic takes longer to start than most commands last."""
    from pydantic import TypeAdapter

    return TypeAdapter(NodeReport)


@dataclass(frozen=True)
class Reported:
    """A node's report and its age in seconds."""

    report: NodeReport
    age: float

    @property
    def live(self) -> bool:
        return self.age <= STALE_SECONDS and not self.report.stopped


def node_id_of(stated: str | None, host: str, node: str) -> str:
    """What a node is called in the store: its own part of a key there.

    Raises BadInput for a name that can't be one.
    """
    if stated is not None:
        if problem := model_name_problem(stated):
            raise BadInput(f"--node-id: {problem}", hint="such as gpu-7")
        return stated
    made = re.sub(r"[^A-Za-z0-9_-]+", "-", f"{host}-{node}").strip("-_")
    return made[-MAX_NAME:].strip("-_")


# --- making one ------------------------------------------------------------------------------


def model_reports(
    desired: EnvironmentState,
    actual: Actual,
    memory: Mapping[UpstreamName, int],
    traffic: Mapping[UpstreamName, Traffic],
) -> dict[str, ModelReport]:
    names = {
        *(UpstreamName(m, v) for m, state in desired.models.items() for v in state.versions),
        *actual.versions,
    }
    found: dict[str, ModelReport] = {}
    for model in sorted({name.model for name in names}):
        state = desired.models.get(model)
        in_force = actual.router.segments(model)
        shares = shares_of(in_force)
        taken = actual.router.reachable and actual.router.routes_taken
        versions = {
            name.version: replace(
                _version(name, state, actual, shares.get(name.version, 0)),
                memory=memory.get(name),
                traffic=traffic.get(name),
            )
            for name in sorted(names)
            if name.model == model
        }
        wanted = state.segments if state else ()
        found[model] = ModelReport(taken and in_force == wanted, versions)
    return found


def _version(
    name: UpstreamName,
    state: ModelState | None,
    actual: Actual,
    share: int,
) -> VersionReport:
    seen = actual.versions.get(name)
    failure = actual.failures.get(name)
    wanted = state is not None and name.version in state.versions
    phase, reason = _phase(name, seen, actual, wanted=wanted)
    if failure is not None and phase in (Phase.WAITING, Phase.RECOVERING):
        times = f" ({failure.tries} times)" if failure.tries > 1 else ""
        phase, reason = Phase.FAILED, f"{failure.reason}{times}"
    return VersionReport(
        phase=phase,
        share=share,
        workers=seen.wanted if seen else 0,
        ready=len(seen.serving) if seen else 0,
        in_flight=seen.in_flight if seen else None,
        reason=reason,
    )


def _phase(
    name: UpstreamName, seen: VersionSeen | None, actual: Actual, *, wanted: bool
) -> tuple[Phase, str]:
    job = actual.jobs.get(name)
    if not wanted:
        managed = seen is None or seen.managed
        return Phase.LEAVING, "" if managed else "registered by hand: the agent lets it be"
    if seen is None:
        return (Phase.LOADING, job.value) if job else (Phase.WAITING, "not loaded yet")
    if len(seen.serving) >= seen.wanted > 0:
        if not seen.bridge and name not in actual.router.active:
            return Phase.LOADING, "the router does not reach it yet"
        return Phase.READY, ""
    return Phase.RECOVERING, job.value if job else seen.reason


# --- what they come to -----------------------------------------------------------------------


class Reach(StrEnum):
    """How far a change has come."""

    DONE = "done"
    UNDER_WAY = "under way"
    FAILED = "failed"


@dataclass(frozen=True)
class Goal:
    """What `--wait` waits for on every live node: generation `generation` is acted on, the versions
    `loaded` are ready and the model's split is in force, those of `gone` are there no longer."""

    generation: int
    model: str
    loaded: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


@dataclass(frozen=True)
class Progress:
    """`pending` and `failed`: per node, what it still lacks and what went wrong there."""

    reach: Reach
    nodes: int
    done: int
    pending: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)


def progress(goal: Goal, reported: Iterable[Reported]) -> Progress:
    """Nodes that are not live are not waited for."""
    live = [one.report for one in reported if one.live]
    pending: dict[str, str] = {}
    failed: dict[str, str] = {}
    for report in live:
        lack = next(_lacks(goal, report), None)
        if lack is None:
            continue
        (failed if lack[0] else pending)[report.node] = lack[1]
    done = len(live) - len(pending) - len(failed)
    reach = Reach.FAILED if failed else Reach.UNDER_WAY if pending or not live else Reach.DONE
    return Progress(reach, len(live), done, pending, failed)


def _lacks(goal: Goal, report: NodeReport) -> Iterator[tuple[bool, str]]:
    """(whether it failed, what is missing), the gravest first."""
    if report.generation < goal.generation:
        yield False, f"at generation {report.generation}"
        return
    model = report.models.get(goal.model)
    versions = model.versions if model else {}
    for version in goal.loaded:
        seen = versions.get(version)
        if seen is not None and seen.phase is Phase.FAILED:
            yield True, f"{version} failed: {seen.reason}"
    for version in goal.loaded:
        seen = versions.get(version)
        if seen is None or seen.phase is not Phase.READY:
            said = f": {seen.reason}" if seen and seen.reason else ""
            yield False, f"{version} is {seen.phase if seen else 'not there'}{said}"
    for version in goal.gone:
        if version in versions:
            yield False, f"{version} is {versions[version].phase}"
    if goal.loaded and (model is None or not model.as_desired):
        yield False, "the split is not in force yet"
