"""What a node's processes hold on to when nothing is asked of them.

Measured only when every request has ended, so that what is held is what was not let go: then a leak
is as plain in ten thousand requests as in a million.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

import jvm

HEAP_NOISE, HEAP_A_REQUEST = 300_000, 32
FILES_NOISE = 8
RESIDENT_NOISE, RESIDENT_A_REQUEST = 5_000_000, 64


@dataclass(frozen=True)
class Footprint:
    """`heap`: bytes alive in TorchServe's JVM after a full collection; `resident`: bytes of the
    worker process in memory, `engine`: of its children, the engine's processes; `files`:
    descriptors that worker and TorchServe have open."""

    heap: int
    resident: int
    engine: int
    files: int

    def __sub__(self, before: Footprint) -> Footprint:
        return Footprint(
            self.heap - before.heap,
            self.resident - before.resident,
            self.engine - before.engine,
            self.files - before.files,
        )

    def assert_flat(self, requests: int) -> None:
        """This difference, made by so many requests, is none.

        Kept for each request, even a bare dictionary entry would be more than HEAP_A_REQUEST. The
        allocator of the worker's Python gives little back and its peaks differ from run to run,
        so there a leak can only be seen beyond RESIDENT_NOISE. The engine's processes are not
        judged: vLLM's keep every grammar they compiled (up to 512 MB), and level off only after
        minutes even without, as ever fewer sizes of batch are new to them.
        """
        assert self.files < FILES_NOISE, str(self)
        assert self.heap < HEAP_NOISE + requests * HEAP_A_REQUEST, str(self)
        assert self.resident < RESIDENT_NOISE + requests * RESIDENT_A_REQUEST, str(self)

    def __str__(self) -> str:
        sizes = {"heap": self.heap, "worker": self.resident, "engine": self.engine}
        megabytes = ", ".join(f"{name} {size / 1e6:.2f} MB" for name, size in sizes.items())
        return f"{megabytes}, {self.files} descriptors"


def footprint(torchserve: int, worker: int) -> Footprint:
    process = psutil.Process(worker)
    engine = process.children(recursive=True)
    return Footprint(
        heap=jvm.live_bytes(torchserve),
        resident=process.memory_info().rss,
        engine=sum(one.memory_info().rss for one in engine),
        files=process.num_fds() + psutil.Process(torchserve).num_fds(),
    )


async def figures(client: httpx.AsyncClient) -> Callable[..., float]:
    """The door's metrics: figure(name, **labels) is the sum of the samples that have the labels."""
    families = list(text_string_to_metric_families((await client.get("/metrics")).text))

    def figure(name: str, **labels: str) -> float:
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    return figure


async def quiet(
    client: httpx.AsyncClient,
    name: str = "tslc_requests_in_flight",
    seconds: float = 5.0,
    **labels: str,
) -> None:
    """Wait until the gauge is 0; fail after `seconds`."""
    async with asyncio.timeout(seconds):
        while (await figures(client))(name, **labels):
            await asyncio.sleep(0.05)
