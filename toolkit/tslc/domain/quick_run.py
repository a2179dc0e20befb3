"""The model config of a quick local run: what was asked for, and what fits this machine.

It starts from the config `ts.llm_launcher` makes (its defaults, and its count of the GPUs that
torch sees) and mends what can't work: settings for zero GPUs, a context longer than the KV cache,
bfloat16 on a CPU. Decides settings only; looks at no machine and no file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import yaml

from tslc.domain.archive_contents import GOLDEN_NAME, MODEL_CONFIG_NAME
from tslc.domain.archive_spec import SPEC_NAME, STOCK_HANDLER, HubWeights, read_weights
from tslc.domain.gpus import GIB, gib
from tslc.domain.memory import WeightsFacts, kv_bytes_per_token, weights_bytes

DEFAULT_NAME = "model"
VERSION = "1.0"
STARTUP_SECONDS = 1200
CPU_SPACE = "VLLM_CPU_KVCACHE_SPACE"
# vLLM's three processes on a CPU beside weights and KV cache: 2.5 GB were measured in all.
CPU_OVERHEAD = 3 * GIB
# GiB: a model of 8 billion parameters holds 32,000 tokens in it.
MOST_CPU_SPACE = 4
# As many requests of the longest context are room enough on one CPU.
_FULL_REQUESTS = 16
# vLLM takes the longest context its KV cache holds, at most the model's own.
AS_LONG_AS_FITS = -1
JOB_QUEUE = 1000
_SIZES = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
_CPU_CACHE_ARGUMENTS = frozenset({"kv_cache_memory_bytes", "gpu_memory_utilization"})

# An archive has golden prompts; nothing is known of this model but that it can be asked.
_GOLDEN = (
    '{"name": "answers", "path": "/tokenize", "request": {"prompt": "Hello"}, '
    '"expect": {"status": 200}}\n'
)


class ServerKind(StrEnum):
    UVICORN = "uvicorn"
    TORCHSERVE = "torchserve"

    @property
    def port(self) -> int:
        return 8000 if self is ServerKind.UVICORN else 8080


@dataclass(frozen=True)
class QuickModel:
    """What to serve: `path` is a folder or a name of the hub, `said` what the user called it."""

    name: str
    said: str
    path: str
    engine: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Machine:
    """`memory`: bytes free now; `cpu_space`: $VLLM_CPU_KVCACHE_SPACE, when the user set it."""

    memory: int
    cpu_space: str | None = None


@dataclass(frozen=True)
class QuickConfig:
    """A model config as YAML, and what a person should know of the choices made."""

    text: str
    remarks: tuple[str, ...] = ()


def hub_weights(said: str) -> HubWeights | None:
    """`org/name[@revision]` (also with `hf:` before it); None when it isn't one."""
    name = said.removeprefix("hf:")
    pinned = name if "@" in name else f"{name}@main"
    found = read_weights(f"hf:{pinned}", "", {}, lambda _: None)
    return found if isinstance(found, HubWeights) else None


def quick_config(
    base: Mapping[str, object], model: QuickModel, machine: Machine, facts: WeightsFacts | None
) -> QuickConfig:
    """The config for `model` on `machine`.

    `base` is what ts.llm_launcher would write; its `parallelLevel` is the number of GPUs. `facts`
    are None when the weights are not here yet.
    """
    gpus = _whole(base.get("parallelLevel"))
    handler = base.get("handler")
    engine = handler.get("vllm_engine_config") if isinstance(handler, Mapping) else None
    arguments = {k: v for k, v in engine.items() if v is not None} if engine else {}
    arguments |= {"max_model_len": AS_LONG_AS_FITS} | dict(model.engine)
    # The weights are fetched before; the engine gets a folder.
    arguments.pop("download_dir", None)
    served = arguments.pop("served_model_name", None) or list(
        dict.fromkeys([model.name, model.said])
    )
    section: dict[str, object] = {
        "model_path": model.path,
        "served_model_name": served,
        "vllm_engine_config": arguments,
    }
    document = {**base, "jobQueueSize": JOB_QUEUE, "parallelType": "custom", "handler": section}
    if gpus:
        remarks = _for_gpus(document, arguments, model, gpus, facts)
    else:
        remarks = _for_cpu(document, arguments, section, model, machine, facts)
    return QuickConfig(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), remarks)


def _for_gpus(
    document: dict[str, object],
    arguments: dict[str, object],
    model: QuickModel,
    gpus: int,
    facts: WeightsFacts | None,
) -> tuple[str, ...]:
    remarks: tuple[str, ...] = ()
    if any(size in model.engine for size in _SIZES):
        arguments["tensor_parallel_size"] = model.engine.get(_SIZES[0], 1)
    else:
        heads = facts.architecture.num_attention_heads if facts and facts.architecture else None
        used = tensor_parallel(gpus, heads)
        arguments["tensor_parallel_size"] = used
        if used < gpus:
            remarks = (f"{used} of {gpus} GPUs are used: {gpus} don't divide {heads} heads",)
    level = 1
    for size in _SIZES:
        level *= max(1, _whole(arguments.get(size, 1)))
    document |= {"deviceType": "gpu", "parallelLevel": level}
    return remarks


def tensor_parallel(gpus: int, heads: int | None) -> int:
    """The most GPUs that share the attention heads evenly; all when the heads are not known."""
    return next(n for n in range(gpus, 0, -1) if heads is None or heads % n == 0)


def _for_cpu(
    document: dict[str, object],
    arguments: dict[str, object],
    section: dict[str, object],
    model: QuickModel,
    machine: Machine,
    facts: WeightsFacts | None,
) -> tuple[str, ...]:
    document |= {"deviceType": "cpu", "parallelLevel": 1}
    arguments["tensor_parallel_size"] = model.engine.get("tensor_parallel_size", 1)
    # bfloat16 gave wrong text on CPUs without an error: compiled, and on those with AMX always.
    arguments.setdefault("enforce_eager", True)
    exact = weights_bytes(facts, dtype="float32") if facts else None
    if exact is not None and exact + CPU_OVERHEAD + GIB <= machine.memory // 2:
        arguments.setdefault("dtype", "float32")
    if machine.cpu_space:
        section["environment"] = {CPU_SPACE: machine.cpu_space}
        return ()
    if _CPU_CACHE_ARGUMENTS & model.engine.keys():
        return ()
    dtype = str(arguments.get("dtype", "auto"))
    weights = (weights_bytes(facts, dtype=dtype) if facts else None) or 0
    space = cpu_space(machine.memory, weights, _useful_cache(facts, dtype))
    section["environment"] = {CPU_SPACE: str(space)}
    needed = weights + CPU_OVERHEAD + GIB
    if needed > machine.memory:
        return (
            f"about {gib(needed)} of memory are needed and {gib(machine.memory)} are free: "
            "the system may end the engine",
        )
    return ()


def cpu_space(memory: int, weights: int, useful: int | None = None) -> int:
    """GiB of KV cache on a CPU: half of what is left of `memory` bytes, 1 to MOST_CPU_SPACE, and
    not more than the `useful` bytes."""
    left = memory - weights - CPU_OVERHEAD
    wanted = MOST_CPU_SPACE if useful is None else math.ceil(useful / GIB)
    return max(1, min(MOST_CPU_SPACE, wanted, left // 2 // GIB))


def _useful_cache(facts: WeightsFacts | None, dtype: str) -> int | None:
    """Bytes of the KV cache that _FULL_REQUESTS fill; None when that can't be known."""
    a = facts.architecture if facts else None
    per_token = kv_bytes_per_token(a, dtype=dtype) if a else None
    if a is None or per_token is None or not a.max_position_embeddings:
        return None
    return _FULL_REQUESTS * a.max_position_embeddings * per_token


def _whole(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def quick_spec(name: str, config: QuickConfig) -> dict[str, bytes]:
    """The files, by name, from which an archive of the model can be built."""
    spec = {
        "model": name,
        "handler": STOCK_HANDLER,
        "model_config": MODEL_CONFIG_NAME,
        "golden": GOLDEN_NAME,
    }
    return {
        SPEC_NAME: yaml.safe_dump(spec, sort_keys=False).encode(),
        MODEL_CONFIG_NAME: config.text.encode(),
        GOLDEN_NAME: _GOLDEN.encode(),
    }
