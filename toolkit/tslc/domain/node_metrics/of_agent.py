"""Metrics of what the agent knows: its report, what is desired, what it did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tslc.domain.node_metrics.catalogue import (
    AGENT,
    AGENT_JOBS,
    DESIRED_SHARE,
    MEMORY,
    NODE_AS_DESIRED,
    NODE_GENERATION,
    NODE_PROBLEMS,
    PHASE,
    READY_WORKERS,
    SHARE,
    STORE_REACHABLE,
    WORKERS,
)
from tslc.domain.node_metrics.family import Metric, Sample
from tslc.domain.release.actual import Job
from tslc.domain.release.report import NodeReport, Phase, VersionReport
from tslc.domain.release.state import EnvironmentState
from tslc.domain.router.table import WHOLE

OK, FAILED = "ok", "failed"

JobCounts = Mapping[tuple[Job, bool], int]
"""How often, by the job and whether it failed."""


def of_agent(
    report: NodeReport | None, desired: EnvironmentState | None, jobs: JobCounts, *, away: bool
) -> Iterator[Metric]:
    """Without a report: only what is known without it."""
    yield STORE_REACHABLE.of(STORE_REACHABLE.sample(not away))
    yield AGENT_JOBS.of(
        *(
            AGENT_JOBS.sample(jobs.get((job, failed), 0), job.name.lower(), outcome)
            for job in Job
            for failed, outcome in ((False, OK), (True, FAILED))
        )
    )
    if report is not None:
        yield AGENT.of(AGENT.sample(1, report.tslc, report.environment, report.node))
        yield NODE_GENERATION.of(NODE_GENERATION.sample(report.generation))
        yield NODE_PROBLEMS.of(NODE_PROBLEMS.sample(len(report.problems)))
        yield NODE_AS_DESIRED.of(
            *(NODE_AS_DESIRED.sample(one.as_desired, m) for m, one in report.models.items())
        )
        yield from _versions(report)
    if desired is not None:
        yield DESIRED_SHARE.of(
            *(
                DESIRED_SHARE.sample(share / WHOLE, model, version)
                for model, state in desired.models.items()
                for version, share in state.shares.items()
            )
        )


def _versions(report: NodeReport) -> Iterator[Metric]:
    seen = [
        (model, version, one)
        for model, state in report.models.items()
        for version, one in state.versions.items()
    ]
    yield SHARE.of(*(SHARE.sample(one.share / WHOLE, m, v) for m, v, one in seen))
    yield READY_WORKERS.of(*(READY_WORKERS.sample(one.ready, m, v) for m, v, one in seen))
    yield WORKERS.of(*(WORKERS.sample(one.workers, m, v) for m, v, one in seen))
    yield PHASE.of(*(sample for m, v, one in seen for sample in _phases(m, v, one)))
    held = [(m, v, one.memory) for m, v, one in seen if one.memory is not None]
    yield MEMORY.of(*(MEMORY.sample(memory, m, v) for m, v, memory in held))


def _phases(model: str, version: str, one: VersionReport) -> Iterator[Sample]:
    for phase in Phase:
        yield PHASE.sample(phase is one.phase, model, version, phase.value)
