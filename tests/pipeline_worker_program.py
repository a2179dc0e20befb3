"""`tslc pipeline worker` with a release that a test can follow, in a process of its own.

    python pipeline_worker_program.py FOLDER WORDS…

A release is a file in FOLDER: it goes on by one for each slice, and ends as its plan says. Nothing
is imported that the real command would not import, but for the release itself.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from tslc.cli.main import main
from tslc.domain.pipeline.step import Phase, ReleaseWish, StepResult, Stopping
from tslc.errors import BadInput, Refused, RemoteFailed
from tslc.verbs.pipeline import release_step


class FollowedRelease:
    """Its plan: `slices` until it ends, `end` (done, taken back, paused, bad, refused, away, bug),
    `hold` seconds for each slice."""

    def __init__(self, wish: ReleaseWish, folder: Path) -> None:
        self._wish = wish
        self._file = folder / f"{wish.environment}-{wish.model}-{wish.version}.json"

    def go_on(self, seconds: float, stopping: Stopping) -> StepResult:
        assert self._wish.plan is not None
        plan = yaml.safe_load(self._wish.plan.read_text())
        self._note("begun", slices=0)
        end = time.monotonic() + min(seconds, plan.get("hold", 0))
        while time.monotonic() < end and not stopping():
            time.sleep(0.05)
        done = self._note("slice", more=1)["slices"]
        if done < plan["slices"]:
            return StepResult(Phase.RUNNING, f"slice {done}", 100 * done // plan["slices"])
        return self._end(plan["end"])

    def _end(self, how: str) -> StepResult:
        match how:
            case "done":
                return StepResult(Phase.DONE, "promoted", 100)
            case "taken back":
                self._note("taken back")
                return StepResult(Phase.TAKEN_BACK, "taken back", 50, "errors 7% > 1%")
            case "paused":
                return StepResult(Phase.PAUSED, "paused at 50%", 50)
            case "bad":
                raise BadInput("release.yaml has 1 mistake", hint="mend it")
            case "refused":
                raise Refused("the version is not signed")
            case "away":
                raise RemoteFailed("the store does not answer")
            case _:
                raise ZeroDivisionError(how)

    def take_back(self, reason: str) -> StepResult:
        self._note(f"take back: {reason}")
        return StepResult(Phase.TAKEN_BACK, "taken back", 0, reason)

    def _note(self, what: str, more: int = 0, slices: int | None = None) -> dict[str, Any]:
        with self._file.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            said: dict[str, Any] = json.loads(file.read() or '{"slices": 0, "log": []}')
            said["slices"] += more
            said["log"].append([os.getpid(), what])
            file.seek(0)
            file.truncate()
            file.write(json.dumps(said))
        return said


if __name__ == "__main__":
    folder = Path(sys.argv.pop(1))
    release_step.release_step = lambda wish, settings, store: FollowedRelease(wish, folder)  # type: ignore[assignment, return-value]
    main()
