"""What a worker notes in the store before it takes a job, so that another one can go on when it is
killed, and so that a release is not left half-way when its pipeline is stopped.

    environments/<env>/jobs/<model>.json    the last job of a release

CodePipeline gives a job once. Whoever has acknowledged one and dies leaves nobody who would tell
how it ended, and a pipeline that is stopped tells nobody. So workers look at the notes that have
not changed for a while, and ask CodePipeline how the execution is.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import assert_never

from tslc.domain.manifest import canonical_json
from tslc.domain.pipeline.action import Job
from tslc.domain.state_file import parse_state

MAX_BYTES = 64 * 1024
_FIX = "delete the object if no pipeline runs; workers of one bucket must be of one version"


class Stage(StrEnum):
    WORKING = "working"  # somebody took the job and has not told its end
    BETWEEN = "between"  # told that it goes on; the next job comes by itself
    ENDED = "ended"


class Execution(StrEnum):
    """How a pipeline's execution is, in CodePipeline's words."""

    IN_PROGRESS = "InProgress"
    STOPPING = "Stopping"
    STOPPED = "Stopped"
    SUCCEEDED = "Succeeded"
    SUPERSEDED = "Superseded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


@dataclass(frozen=True)
class JobRecord:
    """`configuration`: the action's own, none of whose keys is secret. `worker`: who took the
    job."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    job: str
    pipeline: str
    execution: str
    worker: str
    stage: Stage
    configuration: dict[str, str]
    schema: int = 1

    def render(self) -> bytes:
        return canonical_json(asdict(self))

    @classmethod
    def parse(cls, content: bytes, subject: str) -> JobRecord:
        """Raises BadFile for one that this tslc did not write."""
        return parse_state(cls, content.decode("utf-8", "replace"), subject, _FIX)

    @classmethod
    def of(cls, job: Job, worker: str, stage: Stage) -> JobRecord:
        return cls(job.id, job.pipeline, job.execution, worker, stage, dict(job.configuration))


class Next(StrEnum):
    LEAVE = "leave"  # the next job comes by itself
    TAKE_UP = "take up"  # go on with the job that somebody left
    TAKE_BACK = "take back"  # the release: nobody will go on with it
    CLOSE = "close"  # nothing is open any more


def after_end(record: JobRecord, execution: Execution | None) -> Next:
    """What is to be done about a job that can't be told of any more, or that nobody works on."""
    match execution:
        case Execution.IN_PROGRESS | Execution.STOPPING:
            return Next.TAKE_UP if record.stage is Stage.WORKING else Next.LEAVE
        case Execution.SUCCEEDED:
            return Next.CLOSE
        case (
            Execution.STOPPED | Execution.FAILED | Execution.CANCELLED | Execution.SUPERSEDED | None
        ):
            return Next.TAKE_BACK
    assert_never(execution)
