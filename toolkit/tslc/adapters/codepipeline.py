"""CodePipeline, as a job worker sees it: polls, acknowledges, tells.

Decides nothing. botocore repeats what was throttled or got no answer; what is left of its errors
becomes ours here. boto3 is imported when a client is made.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tslc.adapters.s3_errors import Request, translated
from tslc.domain.pipeline.action import (
    ACTION_VERSION,
    PROVIDER,
    QUERYABLE,
    ArtifactCredentials,
    ArtifactPlace,
    Job,
)
from tslc.domain.pipeline.record import Execution
from tslc.domain.pipeline.told import Failed, GoesOn, Succeeded, Told
from tslc.errors import Refused, RemoteFailed, TslcError

_IN_PROGRESS = "InProgress"
_GONE = ("InvalidJobStateException", "JobNotFoundException")
_NOT_OURS = (*_GONE, "InvalidNonceException")
_UNKNOWN = ("PipelineExecutionNotFoundException", "PipelineNotFoundException")
_ATTEMPTS = 8
_CONNECT_SECONDS, _READ_SECONDS = 10, 30


class JobGone(Refused):
    """CodePipeline does not take an answer for this job any more."""


@dataclass(frozen=True)
class ActionType:
    provider: str = PROVIDER
    version: str = ACTION_VERSION

    @property
    def id(self) -> dict[str, str]:
        owner = {"category": "Deploy", "owner": "Custom"}
        return {**owner, "provider": self.provider, "version": self.version}


class CodePipeline:
    """Usable from many threads; raises TslcErrors only. Credentials: boto3's own chain."""

    def __init__(self, region: str | None = None, endpoint_url: str | None = None) -> None:
        import boto3
        from botocore.config import Config

        config = Config(
            retries={"mode": "adaptive", **_attempts()},
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
        )
        self._server = endpoint_url or "CodePipeline"
        with self._asking("codepipeline:PollForJobs", "codepipeline"):
            self._client: Any = boto3.Session().client(
                "codepipeline", region_name=region, endpoint_url=endpoint_url, config=config
            )
            self._server = str(self._client.meta.endpoint_url)

    def poll(self, action: ActionType, environment: str, most: int) -> tuple[Job, ...]:
        """Jobs of the environment that nobody has taken, `most` at most."""
        with self._asking("codepipeline:PollForJobs", f"{action.provider} {action.version}"):
            found = self._client.poll_for_jobs(
                actionTypeId=action.id,
                maxBatchSize=most,
                queryParam={QUERYABLE: environment},
            )
        return tuple(_job(one) for one in found.get("jobs", ()))

    def acknowledge(self, job: Job) -> bool:
        """Whether the job is ours now; not when somebody else was faster."""
        try:
            with self._asking("codepipeline:AcknowledgeJob", job.id):
                told = self._client.acknowledge_job(jobId=job.id, nonce=job.nonce or "")
        except TslcError as error:
            if _code(error) in _NOT_OURS:
                return False
            raise
        return bool(told.get("status") == _IN_PROGRESS)

    def look_up(self, job: str) -> Job:
        """A job that was acknowledged before. Raises JobGone."""
        with self._asking("codepipeline:GetJobDetails", job):
            found = self._client.get_job_details(jobId=job)
        return _job(found["jobDetails"])

    def tell(self, job: str, told: Told) -> None:
        """Raises JobGone when nobody wants to know: it was stopped, timed out, or told already."""
        match told:
            case GoesOn(token, summary, percent):
                details = {"summary": summary, "percentComplete": percent}
                revision = {"revision": token.release, "changeIdentifier": token.environment}
                self._succeeded(
                    job,
                    details,
                    continuationToken=token.render(),
                    currentRevision={**revision, "revisionSummary": summary},
                )
            case Succeeded(summary):
                self._succeeded(job, {"summary": summary, "percentComplete": 100})
            case Failed(kind, message):
                details = {"type": str(kind), "message": message}
                with self._asking("codepipeline:PutJobFailureResult", job):
                    self._client.put_job_failure_result(jobId=job, failureDetails=details)

    def _succeeded(self, job: str, details: Mapping[str, Any], **more: Any) -> None:
        with self._asking("codepipeline:PutJobSuccessResult", job):
            self._client.put_job_success_result(jobId=job, executionDetails=details, **more)

    def execution(self, pipeline: str, execution: str) -> Execution | None:
        """How an execution is; None when there is no such one any more."""
        try:
            with self._asking("codepipeline:GetPipelineExecution", f"{pipeline} {execution}"):
                found = self._client.get_pipeline_execution(
                    pipelineName=pipeline, pipelineExecutionId=execution
                )
        except TslcError as error:
            if _code(error) in _UNKNOWN:
                return None
            raise
        status = str(found["pipelineExecution"]["status"])
        if status not in list(Execution):
            raise RemoteFailed(f"CodePipeline says {status!r} of {pipeline} {execution}")
        return Execution(status)

    @contextmanager
    def _asking(self, action: str, target: str) -> Iterator[None]:
        try:
            with translated(Request(action, target, self._server)):
                yield
        except TslcError as error:
            if _code(error) in _GONE:
                raise JobGone(f"CodePipeline takes no answer for job {target}") from error
            raise


def _attempts() -> dict[str, int]:
    """AWS's own variable wins."""
    return {} if "AWS_MAX_ATTEMPTS" in os.environ else {"total_max_attempts": _ATTEMPTS}


def _code(error: TslcError) -> str:
    """What CodePipeline itself called it; empty for what is no answer of its."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(response := getattr(cause, "response", None), Mapping):
            return str(response.get("Error", {}).get("Code", ""))
        cause = cause.__cause__
    return ""


def _job(found: Mapping[str, Any]) -> Job:
    described = found.get("data", {})
    context = described.get("pipelineContext", {})
    held = described.get("artifactCredentials")
    places = [(one, one["location"]["s3Location"]) for one in described.get("inputArtifacts", ())]
    return Job(
        id=str(found["id"]),
        configuration=described.get("actionConfiguration", {}).get("configuration", {}),
        nonce=found.get("nonce"),
        pipeline=str(context.get("pipelineName", "")),
        execution=str(context.get("pipelineExecutionId", "")),
        token=described.get("continuationToken"),
        inputs=tuple(
            ArtifactPlace(str(one["name"]), place["bucketName"], place["objectKey"])
            for one, place in places
        ),
        credentials=held
        and ArtifactCredentials(held["accessKeyId"], held["secretAccessKey"], held["sessionToken"]),
    )
