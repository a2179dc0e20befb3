"""Engine processes that nobody owns any more: they hold memory, of the card too.

An engine process of vLLM always has a Python above it, the one that started it. One that was left
has been given to the first process of the machine, or to a subreaper. A worker of TorchServe was
left when no TorchServe of its node runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from tslc.domain.doctor.finding import Finding, fault, ok
from tslc.domain.gpus import gib

# Its other processes (API servers, supervisors) may well be somebody's service.
_ENGINE = re.compile(r"[^\s:]+::(EngineCore|Worker|DPCoordinator)")
WORKER = "model_service_worker.py"
SERVER = "org.pytorch.serve.ModelServer"
# What the first process of a container runs when it is itself an owner of engines.
_OWNERS = ("vllm", WORKER, "tslc")


@dataclass(frozen=True)
class ProcessSeen:
    """`title`: its command line, which vLLM's processes replace. `node`: the folder of the node
    that started it; `program`: what it is, whatever its title, empty where that may not be seen;
    `memory` in bytes."""

    pid: int
    parent: int
    title: str
    node: str | None = None
    memory: int = 0
    program: str = ""

    @property
    def is_engine(self) -> bool:
        return _ENGINE.match(self.title) is not None

    @property
    def is_worker(self) -> bool:
        return WORKER in self.title

    @property
    def name(self) -> str:
        if self.is_engine:
            return self.title.split()[0]
        return "TorchServe's worker" if self.is_worker else self.title.split()[0]


@dataclass(frozen=True)
class LeftoverFacts:
    """`processes`: all that may be seen. `nodes`: names by folder, of the nodes of this user."""

    processes: tuple[ProcessSeen, ...]
    nodes: dict[str, str] = field(default_factory=dict)


def leftovers(processes: Iterable[ProcessSeen]) -> tuple[ProcessSeen, ...]:
    listed = tuple(processes)
    by_pid = {one.pid: one for one in listed}
    served = {one.node for one in listed if SERVER in one.title}
    return tuple(
        one
        for one in listed
        if (one.is_engine and _is_orphan(one, by_pid))
        or (one.is_worker and _is_abandoned(one, served, by_pid))
    )


def _is_orphan(one: ProcessSeen, by_pid: dict[int, ProcessSeen]) -> bool:
    parent = by_pid.get(one.parent)
    if one.parent <= 1:
        return parent is None or not any(word in parent.title for word in _OWNERS)
    # One that may not be seen may well be its owner.
    return parent is not None and bool(parent.program) and not _is_python(parent)


def _is_python(one: ProcessSeen) -> bool:
    return one.program.startswith("python")


def _is_abandoned(
    one: ProcessSeen, served: set[str | None], by_pid: dict[int, ProcessSeen]
) -> bool:
    if one.node is not None:
        return one.node not in served
    parent = by_pid.get(one.parent)
    return one.parent <= 1 and (parent is None or SERVER not in parent.title)


def judge_leftovers(facts: LeftoverFacts) -> Finding:
    left = leftovers(facts.processes)
    if not left:
        engines = sum(one.is_engine or one.is_worker for one in facts.processes)
        if not engines:
            return ok("none: no engine runs")
        return ok(f"none: {engines} workers and engine processes run, each with its owner")
    named = [f"{one.name} (pid {one.pid}, {gib(one.memory)})" for one in left]
    said = f"left without an owner: {', '.join(named)}"
    names = sorted({facts.nodes[one.node] for one in left if one.node in facts.nodes})
    others = [str(one.pid) for one in left if one.node not in facts.nodes]
    fixes = [f"tslc down --name {name}" for name in names]
    fixes += [f"kill {' '.join(others)}"] if others else []
    return fault(said, " && ".join(fixes))
