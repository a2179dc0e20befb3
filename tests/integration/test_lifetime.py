"""Nothing of a worker outlives it, and a worker does not outlive its engine."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psutil
import pytest

import tslc_handlers.reaper
from nodes import Node, TinyArchives, eventually, start_node
from tslc.adapters.node_processes import wait_gone

pytestmark = pytest.mark.integration

LIMIT = 5.0
_numbers = count()


def engine_of(worker: int) -> int:
    """The process that stands in for vLLM's engine: the worker's child that is not the reaper."""
    children = psutil.Process(worker).children()
    (engine,) = [c.pid for c in children if "reaper.py" not in " ".join(c.cmdline())]
    return engine


def gone(*pids: int, seconds: float = LIMIT) -> bool:
    processes = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    return not wait_gone(processes, seconds)


def worker_of(door: Path) -> int:
    return int(door.stem.split("@")[2])


@dataclass(frozen=True)
class Mortal:
    """A version whose engine is a process, alone with its test on the node that all tests share."""

    node: Node
    model: str

    def door(self) -> Path:
        return self.node.door(self.model, "1.0.0")


@pytest.fixture
def mortal(node: Node, archives: TinyArchives):
    one = Mortal(node, f"mortal{next(_numbers)}")
    node.cli.ok("register", archives.build(one.model, environment={"TINY_SUBPROCESS": "1"}))
    yield one
    # What a test killed comes back first: a version that still loads can't be taken off.
    took_off = ("unregister", one.model, "1.0.0")
    assert eventually(lambda: not node.versions(one.model) or node.cli(*took_off).code == 0, 30)


@pytest.fixture
def pair(mortal):
    worker = worker_of(mortal.door())
    return worker, engine_of(worker)


@pytest.fixture
def own_node(cli, archives):
    """A node that a test may end, with such a version."""
    node = start_node(cli)
    cli.ok("register", archives.build("mortal", environment={"TINY_SUBPROCESS": "1"}))
    return node


@pytest.fixture
def own_pair(own_node):
    worker = worker_of(own_node.door("mortal", "1.0.0"))
    return worker, engine_of(worker)


def test_a_worker_ends_when_its_engine_is_killed(pair):
    worker, engine = pair
    os.kill(engine, signal.SIGKILL)
    assert gone(worker)


def test_the_engine_ends_when_its_worker_is_killed(mortal, pair):
    worker, engine = pair
    door = mortal.door()
    os.kill(worker, signal.SIGKILL)
    assert gone(engine)
    deadline = time.monotonic() + LIMIT
    while door.exists() and time.monotonic() < deadline:
        os.sched_yield()
    assert not door.exists(), "the dead worker's socket is still there"


def test_all_end_with_unregister(mortal, pair):
    mortal.node.cli.ok("unregister", mortal.model, "1.0.0")
    assert gone(*pair)


def test_a_killed_reaper_is_replaced_and_still_reaps(pair):
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


def test_all_end_when_torchserve_is_killed(own_node, own_pair):
    os.kill(own_node.pid, signal.SIGKILL)
    assert gone(*own_pair)


def test_all_end_when_torchserve_is_stopped_its_own_way(own_node, own_pair):
    environment = {**os.environ, "TMPDIR": str(own_node.root / "tmp")}
    torchserve = shutil.which("torchserve", path=str(Path(sys.executable).parent))
    subprocess.run([torchserve, "--stop"], env=environment, cwd=own_node.root, check=True)
    assert gone(own_node.pid, seconds=30)
    assert gone(*own_pair)


def test_all_end_with_down(own_node, own_pair):
    own_node.cli.ok("down")
    assert gone(*own_pair)
    assert own_node.processes() == []


def test_a_reaper_whose_worker_dies_before_it_is_heard_still_reaps(tmp_path):
    """Nobody reads its "ready" then: a write to a pipe without a reader."""
    engine = "subprocess.Popen(['sleep', '600'], stdout=subprocess.DEVNULL)"
    program = f"import subprocess; print({engine}.pid, flush=True); input()"
    worker = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    child = int(worker.stdout.readline())
    unread, write = os.pipe()
    os.close(unread)
    script = Path(tslc_handlers.reaper.__file__)
    words = (sys.executable, "-I", "-S", script, worker.pid, 0, tmp_path / "door")
    reaper = subprocess.Popen([str(word) for word in words], stdout=write)
    os.close(write)
    said = Path(f"/proc/{reaper.pid}/fd/1")
    told = eventually(lambda: not said.exists(), LIMIT)
    worker.kill()
    worker.communicate()
    assert gone(child)
    assert told
    assert reaper.wait(LIMIT) == 0
