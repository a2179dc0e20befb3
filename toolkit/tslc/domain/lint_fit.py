"""Whether the model fits the hardware, with the settings of its config.

Without the weights' config.json nothing is said; without hardware only what doesn't need it.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from tslc.domain.gpus import GIB, Hardware, gib
from tslc.domain.lint_config import ENGINE, LintedConfig
from tslc.domain.lint_rules import Finding
from tslc.domain.memory import (
    Architecture,
    WeightsFacts,
    kv_bytes_per_token,
    kv_bytes_per_token_per_gpu,
    kv_room,
    quantized_bits,
    weights_bytes,
)

DEFAULT_SHARE = 0.92  # gpu_memory_utilization of vLLM 0.32
STARTUP_DEFAULT = 120  # seconds, TorchServe's
STARTUP_BASE = 90  # imports (33 s measured on two CPU cores), profiling, CUDA graphs
LOAD_BYTES_PER_SECOND = 200e6  # a network volume read for the first time
MAX_CARDS = 64


def check_fit(
    config: LintedConfig, weights: WeightsFacts | None, hardware: Hardware | None
) -> Iterator[Finding]:
    size = loaded_bytes(config, weights) if weights else None
    yield from _startup(config, size)
    if config.on_gpu and hardware:
        yield from _gpu_count(config, hardware)
    architecture = weights.architecture if weights else None
    if weights and (architecture is None or size is None):
        yield config.found("memory-unknown", (), f"{weights.name}: nothing known to compute with")
    if architecture is not None:
        yield from _heads(config, architecture)
        yield from _context(config, architecture)
        if size is not None:
            yield from _memory(config, architecture, size, hardware)


def loaded_bytes(config: LintedConfig, weights: WeightsFacts) -> int | None:
    """The weights' bytes with the dtype and quantisation the engine's section says."""
    method = config.text(*ENGINE, "quantization", default="")
    dtype = config.text(*ENGINE, "dtype", default="auto")
    return weights_bytes(weights, dtype=dtype, bits=quantized_bits(method) if method else None)


def startup_seconds(size: int) -> int:
    """Seconds to be ready: STARTUP_BASE + bytes / LOAD_BYTES_PER_SECOND, up to the next ten."""
    return ceil((STARTUP_BASE + size / LOAD_BYTES_PER_SECOND) / 10) * 10


def _startup(config: LintedConfig, size: int | None) -> Iterator[Finding]:
    given = config.integer("startupTimeout", default=STARTUP_DEFAULT)
    path = ("startupTimeout",)
    said = f"{given} s" if config.has(*path) else f"not set, which means {given} s"
    if size is not None and given < startup_seconds(size):
        needed = startup_seconds(size)
        yield config.found(
            "startup-timeout",
            path,
            f"startupTimeout is {said}; {gib(size)} of weights may take {needed} s to load",
            fix=f"write startupTimeout: {needed} or more",
        )
    elif size is None and given <= STARTUP_DEFAULT:
        fix = "write startupTimeout: 600, or more for models over 80 GiB"
        yield config.found("startup-timeout", path, f"startupTimeout is {said}", fix=fix)


def _gpu_count(config: LintedConfig, hardware: Hardware) -> Iterator[Finding]:
    workers = max(1, config.integer("maxWorkers", default=1))
    needed = workers * config.engine_gpus
    if needed > hardware.gpus:
        each = f"{workers} worker{'s' if workers > 1 else ''} × {config.engine_gpus} GPU"
        key = (*ENGINE, "tensor_parallel_size") if workers == 1 else ("maxWorkers",)
        yield config.found("gpu-count", key, f"{each} = {needed}, and there are {hardware}")


def _heads(config: LintedConfig, a: Architecture) -> Iterator[Finding]:
    parallel = config.engine_size("tensor_parallel_size")
    if a.num_attention_heads % parallel:
        yield config.found(
            "attention-heads",
            (*ENGINE, "tensor_parallel_size"),
            f"{parallel} does not divide the model's {a.num_attention_heads} attention heads",
        )


def _context(config: LintedConfig, a: Architecture) -> Iterator[Finding]:
    length = config.integer(*ENGINE, "max_model_len", default=-1)
    stretched = config.has(*ENGINE, "hf_overrides")
    if a.max_position_embeddings and length > a.max_position_embeddings and not stretched:
        yield config.found(
            "context-length",
            (*ENGINE, "max_model_len"),
            f"{length} tokens; the model was made for {a.max_position_embeddings}",
            fix=f"write max_model_len: {a.max_position_embeddings} or less",
        )


def _memory(
    config: LintedConfig, a: Architecture, size: int, hardware: Hardware | None
) -> Iterator[Finding]:
    room = _room(config, size, hardware)
    if room is None:
        return
    if config.on_gpu and room <= 0 and hardware is not None:
        yield _no_fit(config, a, size, hardware)
        return
    length = _promised_length(config, a)
    share = _token_bytes(config, a, config.copy_gpus)
    if length is None or share is None:
        return
    holds = int(room / share)
    if length > holds:
        implied = "" if config.has(*ENGINE, "max_model_len") else ", the model's whole context"
        yield config.found(
            "max-model-len",
            (*ENGINE, "max_model_len"),
            f"{length} tokens{implied}, need {gib(length * share)} of KV cache on each device; "
            f"there is room for {gib(max(0, room))}, {holds} tokens",
            fix=f"write max_model_len: {holds // 16 * 16} or less, or make room",
        )


def _room(config: LintedConfig, size: int, hardware: Hardware | None) -> int | None:
    """Bytes of KV cache one GPU (or the CPU) has; None when that isn't known."""
    fixed = config.integer(*ENGINE, "kv_cache_memory_bytes", default=0)
    if not config.on_gpu:
        space = config.integer("handler", "environment", "VLLM_CPU_KVCACHE_SPACE", default=0)
        return space * GIB or fixed or None
    if hardware is None:
        return fixed or None
    return fixed or _gpu_room(config, size, hardware, config.copy_gpus)


def _gpu_room(config: LintedConfig, size: int, hardware: Hardware, cards: int) -> int:
    share = config.number(*ENGINE, "gpu_memory_utilization", default=DEFAULT_SHARE)
    memory = hardware.gpu_memory
    return kv_room(gpu_memory=memory, utilization=share, weights=size, gpus=cards)


def _token_bytes(config: LintedConfig, a: Architecture, cards: int) -> float | None:
    """KV cache one token takes on each of `cards` GPUs; the pipeline's share as configured."""
    per_token = kv_bytes_per_token(
        a,
        cache_dtype=config.text(*ENGINE, "kv_cache_dtype", default="auto"),
        dtype=config.text(*ENGINE, "dtype", default="auto"),
    )
    if per_token is None:
        return None
    pipeline = config.engine_size("pipeline_parallel_size")
    tensor = max(1, cards // pipeline)
    return kv_bytes_per_token_per_gpu(
        a, per_token, tensor_parallel=tensor, pipeline_parallel=pipeline
    )


def _promised_length(config: LintedConfig, a: Architecture) -> int | None:
    """The longest request promised: max_model_len, or the model's own; None where vLLM is asked
    to choose it (-1, auto)."""
    if not config.has(*ENGINE, "max_model_len"):
        return a.max_position_embeddings or None
    length = config.integer(*ENGINE, "max_model_len", default=-1)
    return length if length > 0 else None


def _no_fit(config: LintedConfig, a: Architecture, size: int, hardware: Hardware) -> Finding:
    cards = config.copy_gpus
    share = config.number(*ENGINE, "gpu_memory_utilization", default=DEFAULT_SHARE)
    each = f" ({gib(size / cards)} on each of {cards})" if cards > 1 else ""
    return config.found(
        "weights-fit",
        (*ENGINE, "tensor_parallel_size"),
        f"{gib(size)} of weights{each} and 1 GiB of working memory don't fit "
        f"{gib(hardware.gpu_memory * share)} of {hardware.name}",
        fix=_ways_out(config, a, size, hardware),
    )


def _ways_out(config: LintedConfig, a: Architecture, size: int, hardware: Hardware) -> str:
    """More of the GPUs there are, a smaller model, or more GPUs than there are; only what leaves
    room for the longest request promised."""
    ways = []
    cards = config.copy_gpus
    more = next((n for n in _card_counts(a) if _serves(config, a, size, hardware, n)), None)
    if more is not None and more <= hardware.gpus:
        ways.append(f"tensor_parallel_size: {more} with parallelLevel: {more}")
    if a.quantization is None and not config.has(*ENGINE, "quantization"):
        for bits, names in ((8, "8 bits (fp8)"), (4, "4 bits (AWQ, GPTQ)")):
            smaller = weights_bytes(WeightsFacts(a, None), bits=bits)
            if smaller and _serves(config, a, smaller, hardware, cards):
                ways.append(f"a model quantised to {names}, {gib(smaller)}")
                break
    if more is not None and more > hardware.gpus:
        sizes = f"tensor_parallel_size: {more} with parallelLevel: {more}"
        ways.append(f"{more} such GPUs and {sizes}")
    return ("use " + ", or ".join(ways)) if ways else "use bigger GPUs, or a smaller model"


def _card_counts(a: Architecture) -> list[int]:
    """The powers of two that divide the attention heads."""
    counts = [2**power for power in range(MAX_CARDS.bit_length())]
    return [count for count in counts if a.num_attention_heads % count == 0]


def _serves(
    config: LintedConfig, a: Architecture, size: int, hardware: Hardware, cards: int
) -> bool:
    room = _gpu_room(config, size, hardware, cards)
    length = _promised_length(config, a) or 1
    return room > length * (_token_bytes(config, a, cards) or 0)
