"""Nothing of a worker outlives it, and a worker does not outlive its engine."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from nodes import start_node

pytestmark = pytest.mark.integration

LIMIT = 5.0


def engine_of(worker: int) -> int:
    """The process that stands in for vLLM's engine: the worker's child that is not the reaper."""
    children = psutil.Process(worker).children()
    (engine,) = [c.pid for c in children if "reaper.py" not in " ".join(c.cmdline())]
    return engine


def gone(*pids: int, seconds: float = LIMIT) -> bool:
    processes = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return not [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def worker_of(door: Path) -> int:
    return int(door.stem.split("@")[2])


@pytest.fixture
def own_node(cli, archives):
    """A node that a test may break, with one version whose engine is a process."""
    node = start_node(cli)
    cli.ok("register", archives.build("mortal", environment={"TINY_SUBPROCESS": "1"}))
    return node


@pytest.fixture
def pair(own_node):
    worker = worker_of(own_node.door("mortal", "1.0.0"))
    return worker, engine_of(worker)


def test_a_worker_ends_when_its_engine_is_killed(own_node, pair):
    worker, engine = pair
    os.kill(engine, signal.SIGKILL)
    assert gone(worker)


def test_the_engine_ends_when_its_worker_is_killed(own_node, pair):
    worker, engine = pair
    door = own_node.door("mortal", "1.0.0")
    os.kill(worker, signal.SIGKILL)
    assert gone(engine)
    deadline = time.monotonic() + LIMIT
    while door.exists() and time.monotonic() < deadline:
        os.sched_yield()
    assert not door.exists(), "the dead worker's socket is still there"


def test_all_end_when_torchserve_is_killed(own_node, pair):
    os.kill(own_node.pid, signal.SIGKILL)
    assert gone(*pair)


def test_all_end_when_torchserve_is_stopped_its_own_way(own_node, pair):
    environment = {**os.environ, "TMPDIR": str(own_node.root / "tmp")}
    torchserve = shutil.which("torchserve", path=str(Path(sys.executable).parent))
    subprocess.run([torchserve, "--stop"], env=environment, cwd=own_node.root, check=True)
    assert gone(own_node.pid, seconds=30)
    assert gone(*pair)


def test_all_end_with_unregister(own_node, pair):
    own_node.cli.ok("unregister", "mortal", "1.0.0")
    assert gone(*pair)


def test_all_end_with_down(own_node, pair):
    own_node.cli.ok("down")
    assert gone(*pair)
    assert own_node.processes() == []


def test_a_killed_reaper_is_replaced_and_still_reaps(own_node, pair):
    worker, engine = pair

    def reaper() -> psutil.Process | None:
        for child in psutil.Process(worker).children():
            with contextlib.suppress(psutil.Error):  # killed, and not yet waited for
                if "reaper.py" in " ".join(child.cmdline()):
                    return child
        return None

    first = reaper()
    first.kill()
    deadline = time.monotonic() + LIMIT
    while (second := reaper()) is None or second.pid == first.pid:
        assert time.monotonic() < deadline
        os.sched_yield()
    os.kill(worker, signal.SIGKILL)
    assert gone(engine, second.pid)
