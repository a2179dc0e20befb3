"""Nodes to test on: `tslc` as a process, a running TorchServe, archives of the tiny engine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

import ready_tslc
from tslc.adapters import node_processes

TINY = Path(__file__).parent / "tiny_engine"
GOOD_PROMPT = {
    "name": "echo",
    "request": {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 3},
    "expect": {"contains": ["hello"], "within_seconds": 30},
}
CONFIG = {
    "minWorkers": 1,
    "maxWorkers": 1,
    "batchSize": 1,
    "maxBatchDelay": 0,
    "responseTimeout": 120,
    "startupTimeout": 60,
    "deviceType": "cpu",
    "parallelType": "custom",
    "parallelLevel": 1,
    "asyncCommunication": True,
}


@dataclass(frozen=True)
class Ran:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Cli:
    """`tslc` as a process, with a home and a current folder of its own."""

    home: Path
    cwd: Path

    def __call__(self, *words: object, env: Mapping[str, str] | None = None) -> Ran:
        """Run it, whatever its exit code."""
        command = [sys.executable, "-m", "tslc", *map(str, words)]
        # A store that is not the local one: most tests need none, and it takes seconds to start.
        own = {"TSLC_HOME": str(self.home), "TSLC_STORE_URL": "s3://none-is-needed"}
        environment = {**os.environ, **own, **(env or {})}
        if ready_tslc.fits(environment):
            return Ran(*ready_tslc.run(command[3:], self.cwd, environment, 300))
        done = subprocess.run(
            command, cwd=self.cwd, env=environment, capture_output=True, text=True, timeout=300
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def ok(self, *words: object, env: Mapping[str, str] | None = None) -> Ran:
        """Run it; it has to succeed."""
        ran = self(*words, env=env)
        assert ran.code == 0, f"tslc {words}: exit {ran.code}\n{ran.out}\n{ran.err}"
        return ran


@dataclass(frozen=True)
class Node:
    """A running node. `root` is its folder; ports, run_dir and key_file as `tslc up` told them."""

    cli: Cli
    root: Path
    pid: int
    ports: Mapping[str, int]
    run_dir: Path
    key_file: Path

    @property
    def inference_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['inference']}"

    @property
    def management_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['management']}"

    def inference_key(self) -> str:
        return str(json.loads(self.key_file.read_text())["inference"]["key"])

    def processes(self) -> list[psutil.Process]:
        """Every process that has the node's run folder in its environment."""
        found = []
        for process in psutil.process_iter():
            try:
                zombie = process.status() == psutil.STATUS_ZOMBIE
                if not zombie and process.environ().get("TSLC_RUN_DIR") == str(self.run_dir):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def versions(self, model: str) -> dict[str, dict[str, Any]]:
        """What `tslc status` says of a model's versions."""
        listed = self.cli.ok("status", "--json").json["versions"]
        return {one["version"]: one for one in listed if one["model"] == model}

    def door(self, model: str, version: str) -> Path:
        """The socket of the version's first worker."""
        return next(iter(sorted(self.run_dir.glob(f"{model}@{version}@*.sock"))))


@dataclass(frozen=True)
class TinyArchives:
    """Builds archives whose engine is the tiny one; `weights` are files it doesn't look at."""

    cli: Cli
    folder: Path

    def build(self, model: str, version: str = "1.0.0", **given: Any) -> Path:
        """A .mar of `spec(model, **given)`."""
        spec = self.spec(model, **given)
        self.cli.ok("build", spec, "--version", version, "-o", spec / "dist")
        return spec / "dist" / f"{model}-{version}.mar"

    def spec(
        self,
        model: str,
        environment: Mapping[str, str] | None = None,
        golden: Sequence[Mapping[str, Any]] = (GOOD_PROMPT,),
        handler: str | None = None,
        config: Mapping[str, Any] | None = None,
        handler_config: Mapping[str, Any] | None = None,
        weights: Mapping[str, bytes] | None = None,
    ) -> Path:
        """The folder of an archive.yaml. `handler` is the source of another handler file; `config`
        and `handler_config` are added to the model config and to its handler section."""
        spec = Path(tempfile.mkdtemp(dir=self.folder))
        shutil.copy(TINY / "tiny_app.py", spec)
        source = handler or (TINY / "tiny_handler.py").read_text()
        (spec / "tiny_handler.py").write_text(source)
        section = {"environment": dict(environment or {}), **(handler_config or {})}
        document = {**CONFIG, **(config or {}), "handler": section}
        (spec / "config.yaml").write_text(yaml.safe_dump(document))
        (spec / "golden.jsonl").write_text("".join(json.dumps(one) + "\n" for one in golden))
        about: dict[str, Any] = {
            "model": model,
            "handler": "tiny_handler.py",
            "model_config": "config.yaml",
            "golden": "golden.jsonl",
            "extra_files": ["tiny_app.py"],
        }
        for name, content in (weights or {}).items():
            about["weights"] = "weights"
            (spec / "weights").mkdir(exist_ok=True)
            (spec / "weights" / name).write_bytes(content)
        (spec / "archive.yaml").write_text(yaml.safe_dump(about))
        return spec


def start_node(cli: Cli, *options: object) -> Node:
    """A node without router and agent: what the tests register stays what they registered."""
    told = cli.ok("up", "--free-ports", "--no-router", "--json", *options).json
    return Node(
        cli=cli,
        root=Path(told["folder"]),
        pid=told["pid"],
        ports=told["ports"],
        run_dir=Path(told["run_dir"]),
        key_file=Path(told["key_file"]),
    )


@contextmanager
def short_folder() -> Iterator[Path]:
    """Sockets lie below it, and their paths are short or they are not at all."""
    folder = Path(tempfile.mkdtemp(prefix="tslc-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def kill(pid: int) -> None:
    """Kill it, and wait until it is dead: it may be deep in the kernel, writing to a disk."""
    with suppress(psutil.NoSuchProcess):
        assert node_processes.kill([psutil.Process(pid)]) == ()


def eventually(true: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether the condition comes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.05)
    return true()
