"""The pipeline of deploy/codepipeline on one machine: a commit's way through its stages.

The buildspecs are run phase by phase, as CodeBuild does; the production release is carried out by a
real `tslc pipeline worker`, against a server that speaks CodePipeline's protocol. The approval is
given at once, by whoever calls.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from buildspec_runner import Built, run
from codepipeline_server import Running

BUILDSPECS = Path(__file__).parents[1] / "deploy" / "codepipeline" / "buildspecs"
PRODUCTION = "production"


@dataclass(frozen=True)
class Outcome:
    """`stage`: the last one that was begun; `reason`: why the line stopped there, none: it is
    done."""

    version: str
    stage: str
    reason: str = ""


@dataclass(frozen=True)
class ReleaseLine:
    """`environment` is what the commands see; `router`: of staging. `model`'s spec lies in
    `checkout`, and so do release.yaml, tslc.yaml and the key, release.key."""

    checkout: Path
    out: Path
    model: str
    spec: str
    environment: Mapping[str, str]
    server: Running
    router: str
    say: Callable[[str], None] = lambda _: None
    stages: tuple[str, ...] = ("build", "test", "push", "stage", "evaluate")

    def commit(self, message: str) -> str:
        """Commit what is in the checkout; the version that a release of it has."""
        words = ("-c", "user.name=someone", "-c", "user.email=someone@example.com")
        self._git("add", "-A")
        self._git(*words, "commit", "-q", "-m", message)
        return self._git("rev-parse", "HEAD")[:12]

    def _git(self, *words: str) -> str:
        done = subprocess.run(
            ("git", *words), cwd=self.checkout, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def carry(self, version: str, seconds: float = 1200) -> Outcome:
        """From the commit to production, or to where it stops."""
        for stage in self.stages:
            self.say(f"{stage}: {version}")
            built = self._build(stage, version)
            if not built.succeeded:
                return Outcome(version, stage, _last_words(built.log))
            if brief := built.exported.get("BRIEF"):
                self.say(f"to be approved: {brief}")
        self.say(f"release: {version}")
        reason = self._release(version, seconds)
        return Outcome(version, "release", reason)

    def _build(self, stage: str, version: str) -> Built:
        given = {
            # It is there already: nothing is fetched, and what it needs is not looked through.
            "INSTALL": "tslc",
            "PIP_NO_DEPS": "1",
            "MODEL": self.model,
            "SPEC": self.spec,
            "STAGING": "staging",
            "PRODUCTION": PRODUCTION,
            "VERSION": version,
            "REASON": f"commit {version}",
            "ROUTER": self.router,
            "SIGN_WITH": str(self.checkout / "release.key"),
            "CODEBUILD_SRC_DIR_Built": str(self.out / "build" / "artifact"),
        }
        spec = BUILDSPECS / f"{stage}.yml"
        return run(spec, self.checkout, self.out / stage, {**self.environment, **given}, 1800)

    def _release(self, version: str, seconds: float) -> str:
        """Why it failed; empty when it went well."""
        job = self.server.pipeline.start(
            {
                "Model": self.model,
                "Environment": PRODUCTION,
                "Version": version,
                "PlanText": (self.checkout / "release.yaml").read_text(),
            }
        )
        executions = self.server.pipeline.executions
        ends = time.monotonic() + seconds
        while executions[job.execution] == "InProgress":
            if time.monotonic() > ends:
                return f"not done in {seconds:g} s"
            time.sleep(0.2)
        if executions[job.execution] == "Succeeded":
            return ""
        told = self.server.pipeline.told(job.execution)[-1]
        return str(told.get("failureDetails", {}).get("message", "no reason was told"))

    @contextlib.contextmanager
    def worker(self, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        command = [
            *(sys.executable, "-m", "tslc", "pipeline", "worker", "--env", PRODUCTION),
            *("--codepipeline-url", self.server.url, "--artifacts-url", self.server.url),
            *("--slice", "3", "--poll", "0.5", "--orphaned-after", "10", *words),
        ]
        self.out.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, **self.environment, "AWS_REGION": "us-east-1"}
        with (self.out / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=self.checkout, stdout=log, stderr=log, env=environment
            )
        try:
            yield process
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()


def _last_words(log: str) -> str:
    """What the command that failed said."""
    lines = [line for line in log.splitlines() if line.strip()]
    errors = [at for at, line in enumerate(lines) if line.startswith("error: ")]
    return "\n".join(lines[errors[-1] : errors[-1] + 4] if errors else lines[-3:])
