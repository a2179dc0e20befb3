"""One job of the pipeline: taken, worked on for a slice of time, told.

It is noted in the store before it is acknowledged, so that it can be told of whoever dies when. The
note is replaced by compare-and-swap alone: of two workers one has the job.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from tslc.adapters.codepipeline import ActionType, CodePipeline, JobGone
from tslc.adapters.job_artifact import fetch_artifact, unpack
from tslc.adapters.job_records import JobRecords, Noted
from tslc.domain.pipeline.action import Job, ReleaseAction, read_action
from tslc.domain.pipeline.record import JobRecord, Next, Stage, after_end
from tslc.domain.pipeline.step import ReleaseStep, ReleaseWish
from tslc.domain.pipeline.told import (
    MOST_MESSAGE,
    Failed,
    FailureKind,
    GoesOn,
    Told,
    cut,
    token_of,
    told_of,
    told_of_error,
)
from tslc.errors import BadFile, BadInput, RemoteFailed, TslcError

_PLAN_NAME = "release.yaml"


@dataclass(frozen=True)
class WorkerWish:
    """What `tslc pipeline worker` was told. `worker`: its own name; times in seconds.

    `orphaned_after`: a job that nobody has touched for so long is nobody's. `artifact_endpoint`:
    where the pipeline's artifacts are, if not on AWS.
    """

    environment: str
    worker: str
    action: ActionType = field(default_factory=ActionType)
    slice_seconds: float = 60.0
    poll_seconds: float = 10.0
    orphaned_after: float = 300.0
    jobs: int = 4
    region: str | None = None
    artifact_endpoint: str | None = None


@dataclass(frozen=True)
class Bench:
    """What every job needs: CodePipeline, the notes, releases, and whether the worker is to end."""

    wish: WorkerWish
    codepipeline: CodePipeline
    records: JobRecords
    new_step: Callable[[ReleaseWish], ReleaseStep]
    say: Callable[[str], None]
    stopping: Callable[[], bool] = field(default=lambda: False)


@dataclass(frozen=True)
class Taken:
    """A job that is ours: noted and acknowledged."""

    job: Job
    action: ReleaseAction
    note: Noted


def take(bench: Bench, job: Job) -> Taken | None:
    """Note the job and acknowledge it. None when it is somebody else's, or could not be meant."""
    try:
        action = read_action(job.configuration)
    except BadFile as error:
        refuse(bench, job, Failed(FailureKind.CONFIGURATION, cut(error.message, MOST_MESSAGE)))
        return None
    if action.environment != bench.wish.environment:
        bench.say(f"job {job.id} is of {action.environment}: left alone")
        return None
    before = bench.records.read(action.model)
    if before is not None and not _may_follow(bench, job, action, before):
        return None
    # What was there may have been closed just now.
    note = _note(bench, job, action.model, bench.records.read(action.model) if before else None)
    if note is None:
        return None
    if not bench.codepipeline.acknowledge(job):
        bench.say(f"job {job.id} could not be acknowledged: left alone")
        return None
    return Taken(job, action, note)


def refuse(bench: Bench, job: Job, told: Failed) -> None:
    """A job that nobody can work on is acknowledged to be told so."""
    if bench.codepipeline.acknowledge(job):
        bench.say(f"job {job.id} failed: {told.message}")
        bench.codepipeline.tell(job.id, told)


def _may_follow(bench: Bench, job: Job, action: ReleaseAction, before: Noted) -> bool:
    """Whether the job may take the place of the one that was noted last."""
    record = before.record
    if record.job == job.id and record.stage is Stage.WORKING:
        # Its acknowledgement may be under way there, or lost.
        return record.worker == bench.wish.worker or before.age > bench.wish.orphaned_after
    if record.stage is Stage.ENDED or record.execution == job.execution:
        return True
    if settle(bench, action.model, before) in (Next.TAKE_BACK, Next.CLOSE):
        return True
    other = f"{record.pipeline}, execution {record.execution}"
    message = f"a release of {action.model} is under way: {other}"
    refuse(bench, job, Failed(FailureKind.JOB_FAILED, message))
    return False


def settle(bench: Bench, model: str, note: Noted) -> Next:
    """End a release whose pipeline goes on no more, and say what was to be done. Where the pipeline
    goes on, nothing is done. Raises RemoteFailed when it could not be: the note stays open."""
    found = bench.codepipeline.execution(note.record.pipeline, note.record.execution)
    todo = after_end(note.record, found)
    if todo is Next.TAKE_BACK:
        _take_back(bench, model, note, f"its pipeline is {found or 'gone'}")
    elif todo is Next.CLOSE:
        _restage(bench, model, note, Stage.ENDED)
    return todo


def _take_back(bench: Bench, model: str, note: Noted, why: str) -> None:
    """Claim the note, give the traffic back, close it."""
    mine = replace(note.record, worker=bench.wish.worker, stage=Stage.WORKING)
    if mine != note.record and not bench.records.write(model, mine, note):
        return
    current = bench.records.read(model)
    if current is not None and current.record == mine:
        _give_back(bench, read_action(mine.configuration), why)
        _restage(bench, model, current, Stage.ENDED)


def _give_back(bench: Bench, action: ReleaseAction, why: str) -> None:
    """Afterwards the release holds no traffic; one that had ended stays as it was."""
    try:
        result = bench.new_step(_wish(action, None)).take_back(why)
        bench.say(f"{action.model} {action.version}: {result.phase} ({why})")
    except RemoteFailed:
        raise
    except TslcError as error:
        bench.say(f"{action.model} {action.version}: nothing to be taken back: {error.message}")


def work(bench: Bench, taken: Taken) -> None:
    """Go on with the release for a slice of time and tell what came of it."""
    told = _slice(bench, taken)
    if not _is_ours(bench, taken):
        bench.say(f"job {taken.job.id}: another worker has taken it up")
        return
    try:
        bench.codepipeline.tell(taken.job.id, told)
    except JobGone:
        _nobody_asks(bench, taken, told)
        return
    except TslcError as error:
        # The note stays open: the job is taken up again.
        bench.say(f"job {taken.job.id}: CodePipeline could not be told: {error.message}")
        return
    bench.say(f"{taken.action.model} {taken.action.version}: {_said(told)}")
    if not _ended_well(bench, taken, told):
        return  # The note stays open: somebody tries again.
    stage = Stage.BETWEEN if isinstance(told, GoesOn) else Stage.ENDED
    _restage(bench, taken.action.model, taken.note, stage)


def _slice(bench: Bench, taken: Taken) -> Told:
    """What one slice comes to."""
    try:
        token = token_of(taken.job, taken.action)
    except BadInput as error:
        return Failed(FailureKind.CONFIGURATION, cut(error.message, MOST_MESSAGE))
    with tempfile.TemporaryDirectory(prefix="tslc-job-") as folder:
        try:
            plan = _plan(bench, taken, Path(folder))
            step = bench.new_step(replace(_wish(taken.action, plan), execution=taken.job.execution))
            result = step.go_on(bench.wish.slice_seconds, bench.stopping)
        except TslcError as error:
            return told_of_error(error, token)
    return told_of(result, token)


def _is_ours(bench: Bench, taken: Taken) -> bool:
    """Who was away for so long that another worker took the job up tells nothing of it."""
    try:
        now = bench.records.read(taken.action.model)
    except TslcError:
        return True  # It can't be known; CodePipeline takes one answer alone.
    return now is not None and now.tag == taken.note.tag


def _ended_well(bench: Bench, taken: Taken, told: Told) -> bool:
    """Whether a job that ended leaves no release half-way. One that was told to end by the release
    itself has; what is bad input or refused never began, or is somebody else's by now."""
    if not isinstance(told, Failed) or told.kind is not FailureKind.UNAVAILABLE:
        return True
    try:
        _give_back(bench, taken.action, told.message)
    except RemoteFailed as error:
        bench.say(f"{taken.action.model}: can't be taken back yet: {error.message}")
        return False
    return True


def _nobody_asks(bench: Bench, taken: Taken, told: Told) -> None:
    """CodePipeline wants no answer: the pipeline was stopped, or it has one already."""
    model = taken.action.model
    now = bench.records.read(model)
    if now is None or now.tag != taken.note.tag:
        bench.say(f"job {taken.job.id}: another worker has told of it")
        return
    if not isinstance(told, GoesOn):
        bench.say(f"job {taken.job.id}: {_said(told)}, and nobody asks any more")
        if _ended_well(bench, taken, told):
            _restage(bench, model, now, Stage.ENDED)
    elif settle(bench, model, now) not in (Next.TAKE_BACK, Next.CLOSE):
        bench.say(f"job {taken.job.id}: told already")
        _restage(bench, model, now, Stage.BETWEEN)


def _plan(bench: Bench, taken: Taken, folder: Path) -> Path:
    action, job = taken.action, taken.job
    if action.plan_text is not None:
        path = folder / _PLAN_NAME
        path.write_text(action.plan_text, encoding="utf-8")
        return path
    if len(job.inputs) != 1 or job.credentials is None:
        hint = "give the action one input artifact, the one with the plan"
        raise BadInput(f"the job has {len(job.inputs)} input artifacts", hint=hint)
    wish = bench.wish
    content = fetch_artifact(job.inputs[0], job.credentials, wish.region, wish.artifact_endpoint)
    unpack(content, job.inputs[0], folder)
    path = folder / str(action.plan)
    if not path.is_file():
        raise BadInput(f"the artifact {job.inputs[0].name} has no file {action.plan}")
    return path


def _wish(action: ReleaseAction, plan: Path | None) -> ReleaseWish:
    return ReleaseWish(action.model, action.environment, action.version, plan)


def _note(bench: Bench, job: Job, model: str, before: Noted | None) -> Noted | None:
    """Write that the job is ours; None when somebody else was faster."""
    record = JobRecord.of(job, bench.wish.worker, Stage.WORKING)
    if not bench.records.write(model, record, before):
        bench.say(f"job {job.id}: another worker is at it")
        return None
    written = bench.records.read(model)
    return written if written and written.record == record else None


def claim(bench: Bench, model: str, note: Noted) -> Taken | None:
    """Take up a job that another worker has left. None when somebody was faster."""
    try:
        job = bench.codepipeline.look_up(note.record.job)
    except JobGone:
        bench.say(f"job {note.record.job} of {model} is over")
        _restage(bench, model, note, Stage.BETWEEN)
        return None
    mine = _note(bench, job, model, note)
    if mine is None:
        return None
    bench.say(f"job {job.id} of {model}: taken up, {note.record.worker} has left it")
    return Taken(job, read_action(job.configuration), mine)


def _restage(bench: Bench, model: str, note: Noted, stage: Stage) -> None:
    """Where somebody else has written meanwhile, theirs stands."""
    bench.records.write(model, replace(note.record, stage=stage), note)


def _said(told: Told) -> str:
    match told:
        case GoesOn(_, summary, percent):
            return f"{percent}%, {summary}"
        case Failed(kind, message):
            return f"failed ({kind}): {message}"
        case _:
            return told.summary
