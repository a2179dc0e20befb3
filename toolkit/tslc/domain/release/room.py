"""Whether the versions a node is to hold fit into it, before anything is touched.

A version's need is what its processes held where it runs already, by the nodes' reports; else an
estimate: its weights once, the KV cache its model config asks for, and what the engine's own
libraries take. Under the memory of GPUs nothing is said here: vLLM takes its configured share of a
card, and a version that finds too little ends with vLLM's own words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tslc.domain.gpus import GIB, gib
from tslc.domain.release.report import NodeReport, Phase
from tslc.domain.release.shares import share_text
from tslc.domain.release.state import ModelState, Strategy

# An idle vLLM 0.32 worker and its engine, without weights and cache; measured on a CPU: 0.9 GiB.
ENGINE_BYTES = GIB
# What must stay free beside: prompts in work, the file cache of the system.
MARGIN = GIB // 2


@dataclass(frozen=True)
class Need:
    """Bytes of memory a version takes, and how that is known."""

    size: int
    measured: bool

    def __str__(self) -> str:
        return f"{'' if self.measured else 'about '}{gib(self.size)}"


@dataclass(frozen=True)
class NodePlan:
    """What a node would do for a change, a line each; `refusal`: why it can't."""

    node: str
    steps: tuple[str, ...]
    refusal: str | None = None


def estimated(weights: int, model_config: Mapping[str, object]) -> Need:
    """Need of a version that runs nowhere yet: W + C + ENGINE_BYTES, with W bytes of weights and C
    of KV cache, VLLM_CPU_KVCACHE_SPACE GiB of `handler.environment`. On GPUs W and C lie there."""
    if model_config.get("deviceType") == "gpu":
        return Need(ENGINE_BYTES, measured=False)
    handler = model_config.get("handler")
    environment = handler.get("environment") if isinstance(handler, Mapping) else None
    stated = environment.get("VLLM_CPU_KVCACHE_SPACE") if isinstance(environment, Mapping) else None
    return Need(weights + int(_number(stated) * GIB) + ENGINE_BYTES, measured=False)


def _number(stated: object) -> float:
    try:
        return max(0.0, float(str(stated)))
    except ValueError:
        return 0.0


def measured(model: str, version: str, reports: Sequence[NodeReport]) -> Need | None:
    """The most any node's report says."""
    found = [
        seen.memory
        for report in reports
        if (told := report.models.get(model)) and (seen := told.versions.get(version))
        if seen.memory
    ]
    return Need(max(found), measured=True) if found else None


def node_plan(
    model: str,
    before: ModelState | None,
    after: ModelState | None,
    report: NodeReport,
    needs: Mapping[str, Need],
) -> NodePlan:
    """What a node would do to come from what it reports to `after`."""
    told = report.models.get(model)
    there = {v for v, seen in (told.versions if told else {}).items() if seen.phase is Phase.READY}
    wanted = after.versions if after else ()
    load = [one for one in wanted if one not in there]
    leave = sorted(there - set(wanted))
    recreate = after is not None and after.strategy is Strategy.RECREATE and bool(load)
    free = report.memory_free
    if free is not None and recreate:
        freed = [told.versions[one].memory for one in leave if told]
        free += sum(size or 0 for size in freed)
    steps: list[str] = []
    refusal = None
    unload = [f"unload {version} when no request is left on it" for version in leave]
    if recreate:
        gone = [one for one in leave if before and before.shares.get(one)]
        if gone:
            steps.append("when its turn comes, answer no request until the new version is ready")
        steps += unload
    for version in load:
        need = needs[version]
        room = f", {gib(free)} free" if free is not None else ""
        steps.append(f"load {version}, which takes {need}{room}")
        if free is not None:
            free -= need.size
    if free is not None and free < MARGIN and load:
        refusal = f"{report.node} has no room for {', '.join(load)}: {gib(free)} would be left"
    steps += _shifts(after)
    return NodePlan(report.node, tuple(steps if recreate else [*steps, *unload]), refusal)


def _shifts(after: ModelState | None) -> Iterator[str]:
    if after is None:
        yield "take it out of the router"
        return
    shares = ", ".join(f"{v} {share_text(s)}" for v, s in after.shares.items() if s)
    yield f"divide the traffic: {shares}"
    if after.shadow is not None:
        yield f"copy {share_text(after.shadow.share)} of it to {after.shadow.version}"
