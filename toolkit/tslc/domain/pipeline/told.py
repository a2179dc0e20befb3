"""What CodePipeline is told of a job: it goes on, it is done, it failed and why.

A release that somebody could not answer for goes on a few times: the next job may find them back.
The token that leads from job to job names the release and counts those failures, nothing else.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from tslc.domain.pipeline.action import Job, ReleaseAction
from tslc.domain.pipeline.step import Phase, StepResult
from tslc.errors import BadInput, RemoteFailed, TslcError

MOST_SUMMARY, MOST_MESSAGE = 2048, 5000  # characters; CodePipeline's limits
MOST_FAILURES = 5
_SCHEMA = 1


class FailureKind(StrEnum):
    """CodePipeline's words."""

    JOB_FAILED = "JobFailed"
    CONFIGURATION = "ConfigurationError"
    UNAVAILABLE = "SystemUnavailable"


@dataclass(frozen=True)
class Token:
    """`failures`: jobs in a row that could not reach somebody."""

    environment: str
    release: str
    failures: int = 0

    def render(self) -> str:
        return json.dumps({"schema": _SCHEMA, **vars(self)}, sort_keys=True)

    @classmethod
    def parse(cls, text: str) -> Token:
        """Raises BadInput for what this tslc did not write."""
        try:
            said = json.loads(text)
            if said.pop("schema") != _SCHEMA:
                raise ValueError
            token = cls(**said)
            if not (isinstance(token.failures, int) and isinstance(token.release, str)):
                raise ValueError
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            hint = "workers of one action type have to be of one version of tslc"
            raise BadInput("the job's continuation token is none of tslc's", hint=hint) from None
        return token


@dataclass(frozen=True)
class GoesOn:
    token: Token
    summary: str
    percent: int


@dataclass(frozen=True)
class Succeeded:
    summary: str


@dataclass(frozen=True)
class Failed:
    kind: FailureKind
    message: str


Told = GoesOn | Succeeded | Failed


def token_of(job: Job, action: ReleaseAction) -> Token:
    """The token of the job's release: the one it came with, or the first. Raises BadInput when it
    came with the token of another release."""
    first = Token(action.environment, f"{action.model} {action.version}")
    if job.token is None:
        return first
    token = Token.parse(job.token)
    if (token.environment, token.release) != (first.environment, first.release):
        said = f"{token.release} in {token.environment}, not {first.release}"
        raise BadInput(f"the job goes on with {said} in {first.environment}")
    return token


def told_of(result: StepResult, token: Token) -> Told:
    match result.phase:
        case Phase.RUNNING | Phase.PAUSED:
            going = Token(token.environment, token.release)
            return GoesOn(going, cut(result.summary, MOST_SUMMARY), percent(result.percent))
        case Phase.DONE:
            return Succeeded(cut(result.summary, MOST_SUMMARY))
        case Phase.TAKEN_BACK:
            why = result.reason or result.summary
            return Failed(FailureKind.JOB_FAILED, cut(f"taken back: {why}", MOST_MESSAGE))
    assert_never(result.phase)


def told_of_error(error: TslcError, token: Token) -> Told:
    """What an error comes to: the last of some failures in a row of others ends the job."""
    text = f"{error.message}\n{error.hint}" if error.hint else error.message
    match error:
        case BadInput():
            return Failed(FailureKind.CONFIGURATION, cut(text, MOST_MESSAGE))
        case RemoteFailed() if token.failures + 1 < MOST_FAILURES:
            again = Token(token.environment, token.release, token.failures + 1)
            said = f"trying again ({again.failures} of {MOST_FAILURES}): {error.message}"
            return GoesOn(again, cut(said, MOST_SUMMARY), 0)
        case RemoteFailed():
            return Failed(FailureKind.UNAVAILABLE, cut(text, MOST_MESSAGE))
        case _:
            return Failed(FailureKind.JOB_FAILED, cut(text, MOST_MESSAGE))


def percent(value: int) -> int:
    return max(0, min(100, value))


def cut(text: str, most: int) -> str:
    """CodePipeline takes no empty text and none over its limit."""
    said = text.strip() or "-"
    return said if len(said) <= most else f"{said[: most - 1]}…"
