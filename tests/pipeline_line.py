"""A pipeline with job workers that can be killed, and releases that a test can follow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codepipeline_server import Job, Running
from nodes import eventually
from s3 import S3Server

PROGRAM = Path(__file__).with_name("pipeline_worker_program.py")
ORPHANED = 3.0


@dataclass
class Worker:
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def said(self) -> str:
        return self.log.read_text()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def terminate(self) -> int:
        self.process.terminate()
        return self.process.wait(20)


@dataclass
class Line:
    """A pipeline, a store, and the folder where a test's releases can be followed."""

    server: Running
    s3: S3Server
    bucket: str
    folder: Path
    workers: list[Worker] = field(default_factory=list)

    @contextmanager
    def worker(self, *words: str, env: Mapping[str, str] | None = None) -> Iterator[Worker]:
        log = self.folder / f"worker-{len(self.workers)}.log"
        config = self.folder / "tslc.yaml"
        url = f"s3://{self.bucket}"
        config.write_text(
            f"environments: {{production: {{allow_unsigned: true}}}}\nstore: {{url: {url}}}\n"
        )
        command = [
            *(sys.executable, str(PROGRAM), str(self.folder), "pipeline", "worker"),
            *("--env", "production", "--config", str(config)),
            *("--codepipeline-url", self.server.url, "--artifacts-url", self.server.url),
            *("--slice", "0.8", "--poll", "0.2", "--orphaned-after", str(ORPHANED), *words),
        ]  # fmt: skip
        with log.open("wb") as out:
            process = subprocess.Popen(
                command,
                stdout=out,
                stderr=out,
                env={**os.environ, **self.s3.environment, "AWS_REGION": "us-east-1", **(env or {})},
            )
        worker = Worker(process, log)
        self.workers.append(worker)
        try:
            yield worker
        finally:
            if process.poll() is None:
                worker.kill()

    def release(self, version: str = "1.1.0", model: str = "support-bot") -> dict[str, Any]:
        """What a test's release noted of itself; empty while it has not begun."""
        file = self.folder / f"production-{model}-{version}.json"
        text = file.read_text() if file.exists() else ""
        return dict(json.loads(text)) if text else {}

    def log_of_release(self, **named: str) -> list[str]:
        return [what for _, what in self.release(**named).get("log", [])]

    def slices(self) -> int:
        return int(self.release().get("slices", 0))

    def status(self, job: Job) -> str:
        return self.server.pipeline.executions[job.execution]

    def ends(self, job: Job, how: str, seconds: float = 40) -> bool:
        return eventually(lambda: self.status(job) == how, seconds)

    def record(self, model: str = "support-bot") -> dict[str, Any]:
        key = f"environments/production/jobs/{model}.json"
        found = self.s3.client().get_object(Bucket=self.bucket, Key=key)
        return dict(json.loads(found["Body"].read()))
