"""`tslc down` ends what the node started, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from nodes import Cli, eventually

pytestmark = pytest.mark.integration
SLEEP = "import time; time.sleep(60)"


@pytest.fixture
def root(cli: Cli) -> Path:
    """The folder of a node that is not running, with an unpacked archive in its tmp."""
    root = cli.home / "nodes" / "default"
    for folder in (root / "tmp" / "models" / "m", root / "run"):
        folder.mkdir(parents=True)
    return root


def _start(command: list[str], cwd: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **env}
    return subprocess.Popen(command, cwd=cwd, env=environment, stdin=subprocess.PIPE)


def test_bystanders_survive_and_the_command_itself_does(cli: Cli, root: Path) -> None:
    models = root / "tmp" / "models" / "m"
    run_dir = {"TSLC_RUN_DIR": str(root / "run")}
    bystanders = [
        _start(["sleep", "60"], cli.home, run_dir),  # a router that was told where the doors are
        _start(["/bin/sh"], models, {}),
        _start([sys.executable, "-c", SLEEP], models, {}),
    ]
    try:
        told = cli.ok("down", "--json", env=run_dir).json
        assert told["ended"] == []
        assert [one.poll() for one in bystanders] == [None] * len(bystanders)
    finally:
        for one in bystanders:
            one.kill()
            one.communicate()


def test_a_command_that_a_worker_of_the_node_runs_does_not_end_itself(cli: Cli, root: Path) -> None:
    """Nor the shell it is typed into."""
    mark = {"TSLC_NODE_MARK": str(root), "TSLC_RUN_DIR": str(root / "run")}
    mark["TSLC_HOME"] = str(cli.home)
    line = f"{sys.executable} -m tslc down; echo and the shell goes on"
    done = subprocess.run(
        ["/bin/sh", "-c", line], env={**os.environ, **mark}, capture_output=True, text=True
    )
    assert "was not running" in done.stdout, done.stderr
    assert "and the shell goes on" in done.stdout


def test_what_bears_the_mark_is_ended_and_what_wrote_over_its_environment(
    cli: Cli, root: Path
) -> None:
    models = root / "tmp" / "models" / "m"
    own = [
        _start(["sleep", "60"], cli.home, {"TSLC_NODE_MARK": str(root)}),
        subprocess.Popen([sys.executable, "-c", SLEEP], cwd=models, env={}),
    ]
    told = cli.ok("down", "--json").json
    assert len(told["ended"]) == len(own)
    assert eventually(lambda: None not in [one.poll() for one in own])
