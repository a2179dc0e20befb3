"""Where the engine computes on a CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tslc_handlers.executor import IN_THE_ENGINE, NICENESS, cpu_executor, waiting


@pytest.fixture
def numa(tmp_path: Path) -> Path:
    (tmp_path / "node0").mkdir()
    (tmp_path / "possible").touch()
    return tmp_path


def test_a_single_worker_computes_in_the_engines_process(numa: Path) -> None:
    added = {"distributed_executor_backend": IN_THE_ENGINE}
    assert cpu_executor({}, {}, numa) == added
    assert cpu_executor({"tensor_parallel_size": 1, "nnodes": None}, {}, numa) == added
    assert cpu_executor({}, {}, numa / "no NUMA here") == added


@pytest.mark.parametrize(
    ("values", "environ"),
    [
        ({"distributed_executor_backend": "mp"}, {}),
        ({"tensor_parallel_size": 2}, {}),
        ({"data_parallel_size": 2}, {}),
        ({}, {"VLLM_CPU_OMP_THREADS_BIND": "0-3"}),
        ({}, {"VLLM_CPU_NUM_OF_RESERVED_CPU": "1"}),
    ],
)
def test_who_says_how_is_heeded(
    values: dict[str, object], environ: dict[str, str], numa: Path
) -> None:
    assert cpu_executor(values, environ, numa) == {}


def test_threads_are_left_to_vllm_where_memory_has_several_nodes(numa: Path) -> None:
    (numa / "node1").mkdir()
    assert cpu_executor({}, {}, numa) == {}


def test_its_threads_wait_only_a_moment_unless_somebody_says_otherwise() -> None:
    computes = {"distributed_executor_backend": IN_THE_ENGINE}
    assert waiting(computes, {}) == {"GOMP_SPINCOUNT": "5000"}
    assert waiting(computes, {"OMP_WAIT_POLICY": "ACTIVE"}) == {}
    assert waiting(computes, {"GOMP_SPINCOUNT": "2000"}) == {}


def test_an_engine_that_has_others_compute_is_told_nothing() -> None:
    assert waiting({"distributed_executor_backend": "mp"}, {}) == {}
    assert waiting({}, {}) == {}


NICE = """
import os, threading
from tslc_handlers.executor import give_way

stop = threading.Event()
there = [threading.Thread(target=stop.wait) for _ in range(3)]
for one in there:
    one.start()
give_way()
later = threading.Thread(target=stop.wait)
later.start()
numbers = [threading.main_thread().native_id, *(one.native_id for one in (*there, later))]
print(*{os.getpriority(os.PRIO_PROCESS, number) for number in numbers})
stop.set()
"""


@pytest.mark.parametrize("before", [0, NICENESS + 4])
def test_every_thread_of_an_engine_that_is_up_gives_way(before: int) -> None:
    command = ["nice", "-n", str(before), sys.executable, "-c", NICE]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == [str(max(NICENESS, os.nice(0) + before))]
