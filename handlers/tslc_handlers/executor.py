"""How the engine's process computes on a CPU.

vLLM's CPU platform computes in a process of its own, and has the engine's process wait for it by
asking without a pause: on two cores the model gets one of them, and vLLM is imported once more at
the start. A single worker can compute in the engine's process, if the executor is named by its
class ("uni" is replaced by "mp").

Measured on two cores, SmolLM2 135M, float32, 64 tokens an answer: 18.5 tokens/s instead of 10.8
with one client, 242 instead of 127 with 32; up after 24 s instead of 40.

Its threads wait for each other only a moment without giving the core away. OpenMP's own default is
some milliseconds, and two engines on the same cores, as in a split or with a guard beside the
model, stood in each other's way. With 5,000 turns, one and eight clients, medians of six rounds
interleaved on a noisy machine: two at once 5.8 and 25 tokens/s each, not 1.7 and 16; one alone
12.9 and 80, beside 10.5 and 67. No waiting at all (OMP_WAIT_POLICY=PASSIVE) gave two 7.3 and 39,
but one alone 5.6 and 37, not 11.1 and 65: a virtual core that sleeps wakes late.

And it gives way to what brings its answers to users. The model computes on all cores, and the
worker, the router and whatever else a token passes share them with it; each needs one for a
fraction of a millisecond. Pairs of requests through the router and past it, rounds that took turns:
to a first token the router added 1.5 ms with 32 clients (1.4 to 1.7, six rounds) and 1.1 with 8,
and with this 1.0 (0.8 to 1.5, seven rounds) and 1.0 ms.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

IN_THE_ENGINE = "tslc_handlers.yielding_executor.YieldingExecutor"
NICENESS = 5
_SIZES = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "nnodes")
# What only vLLM's own processes heed: threads bound to cores, and cores left to others.
_BINDING = ("VLLM_CPU_OMP_THREADS_BIND", "VLLM_CPU_NUM_OF_RESERVED_CPU")
_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
_NUMA = Path("/sys/devices/system/node")
_THREADS = Path("/proc/self/task")


def cpu_executor(
    values: Mapping[str, Any], environ: Mapping[str, str], numa: Path = _NUMA
) -> dict[str, str]:
    """Engine arguments to add on a CPU: none where the config or the environment says how it is
    to compute, and none with several NUMA nodes, where threads want to be bound to one."""
    said = any(name in environ for name in _BINDING) or values.get("distributed_executor_backend")
    several = any((values.get(name) or 1) != 1 for name in _SIZES)
    if said or several or len(list(numa.glob("node[0-9]*"))) > 1:
        return {}
    return {"distributed_executor_backend": IN_THE_ENGINE}


def waiting(values: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    """What to add to the environment of the engine's process, if it computes itself."""
    said = any(name in environ for name in _WAITING)
    computes = values.get("distributed_executor_backend") == IN_THE_ENGINE
    return {"GOMP_SPINCOUNT": "5000"} if computes and not said else {}


def give_way() -> None:
    """Make every thread of this process nice, or leave it nicer; it is threads that Linux
    schedules."""
    for task in _THREADS.iterdir() if _THREADS.exists() else ():
        # It may have ended meanwhile, or the system may not allow it.
        with contextlib.suppress(OSError):
            thread = int(task.name)
            nice = max(NICENESS, os.getpriority(os.PRIO_PROCESS, thread))
            os.setpriority(os.PRIO_PROCESS, thread, nice)
