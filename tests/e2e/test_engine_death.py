"""What was started together ends together, with the real vLLM.

The stand-in of tests/integration/test_lifetime.py has more ways to die; each here costs a load.
These tests run last and in this order: the last one leaves nothing loaded. That vLLM ends with its
version and with its node, test_release.py sees at its end.
"""

from __future__ import annotations

import os
import signal

import httpx
import psutil
from tests.e2e.conftest import Quickstart, assert_gone, family

from nodes import eventually
from tslc_handlers.executor import NICENESS

LOAD_SECONDS = 240.0


def engine_of(worker: int) -> psutil.Process:
    (engine,) = [p for p in family(worker) if "EngineCore" in " ".join(p.cmdline())]
    return engine


def worker_of(quickstart: Quickstart) -> int:
    return int(quickstart.door().stem.split("@")[2])


def answers_again(quickstart: Quickstart, dead: int) -> str:
    """Wait for the worker TorchServe starts in the dead one's place; its answer, by both doors."""

    def is_there() -> bool:
        return any(f"@{dead}." not in one.name for one in quickstart.node.run_dir.glob("*.sock"))

    assert eventually(is_there, LOAD_SECONDS), "no new worker"
    question = {"role": "user", "content": "What is the capital of France?"}
    asked = {"messages": [question], "temperature": 0, "max_tokens": 24}
    said = set()
    for door in (quickstart.direct, quickstart.bridge):
        with door() as client:
            answer = client.post("/v1/chat/completions", json=asked)
            assert answer.status_code == httpx.codes.OK, answer.text
            said.add(answer.json()["choices"][0]["message"]["content"])
    (text,) = said
    return text


def test_a_worker_ends_with_its_engine_and_comes_back(quickstart: Quickstart) -> None:
    worker = worker_of(quickstart)
    everything = family(worker)
    engine_of(worker).kill()
    assert_gone(everything)
    assert "Paris" in answers_again(quickstart, worker)


def test_vllm_ends_with_its_worker_and_comes_back(quickstart: Quickstart) -> None:
    worker = worker_of(quickstart)
    everything = family(worker)
    assert len(everything) >= 4
    # tslc_handlers/executor.py: the engine's process is the only one that computes.
    assert not [one for one in everything if "VLLM::Worker" in " ".join(one.cmdline())]
    assert engine_of(worker).nice() >= NICENESS
    os.kill(worker, signal.SIGKILL)
    assert_gone(everything)
    assert "Paris" in answers_again(quickstart, worker)


def test_vllm_ends_when_torchserve_is_killed(quickstart: Quickstart) -> None:
    everything = family(worker_of(quickstart))
    os.kill(quickstart.node.pid, signal.SIGKILL)
    assert_gone(everything)
