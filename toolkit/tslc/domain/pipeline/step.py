"""What the worker asks of a release, and what a release answers.

The release keeps its own state in the store; whoever goes on with it goes on where it was. The
worker knows no more of it than this.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

Stopping = Callable[[], bool]
"""Whether the worker is to end: a release that waits may return early then."""


class Phase(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"  # until somebody says `tslc release … --continue`
    DONE = "done"
    TAKEN_BACK = "taken back"


@dataclass(frozen=True)
class StepResult:
    """`summary` says in a line where the release is; `percent` how much of its plan is done;
    `reason` why it was taken back."""

    phase: Phase
    summary: str
    percent: int = 0
    reason: str = ""


@dataclass(frozen=True)
class ReleaseWish:
    """Of a version that is in the store. `plan` is a file, and what it names besides (questions to
    be asked) lies in its folder; None when the release is only to be taken back. `execution`: the
    pipeline's; of one execution a release is begun once."""

    model: str
    environment: str
    version: str
    plan: Path | None = None
    execution: str = ""


class ReleaseStep(Protocol):
    """One release. Raises TslcErrors: BadInput when it can't be meant, Refused when it may not be,
    RemoteFailed when somebody did not answer, which another try may mend."""

    def go_on(self, seconds: float, stopping: Stopping) -> StepResult:
        """Begin it or go on with it, for at most so long; while it is paused, wait and look."""
        ...

    def take_back(self, reason: str) -> StepResult:
        """End it and give the traffic back. One that has ended stays as it is, and one of another
        version is left alone: Refused."""
        ...
