"""What the processor can do, and what follows for an engine that computes on it."""

from __future__ import annotations

from dataclasses import dataclass, field

from tslc.domain.doctor.finding import Finding, fault, ok

_AMX = "amx_bf16"
_SHOWN = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "AVX-512 BF16", _AMX: "AMX"}


@dataclass(frozen=True)
class CpuFacts:
    """`engine_on_cpu`: the vLLM installed computes here. `flags` as /proc/cpuinfo names them."""

    machine: str
    cores: int
    engine_on_cpu: bool
    flags: frozenset[str] = field(default_factory=frozenset)


def judge_cpu(facts: CpuFacts) -> Finding:
    about = f"{facts.cores} × {facts.machine}"
    if facts.machine not in ("x86_64", "AMD64") or not facts.flags:
        return ok(about)
    able = ", ".join(text for flag, text in _SHOWN.items() if flag in facts.flags) or "no AVX2"
    about = f"{about} with {able}"
    if not facts.engine_on_cpu:
        return ok(f"{about}; the engine computes on GPUs")
    if "avx2" not in facts.flags:
        fix = "serve on another machine: vLLM has CPU kernels for AVX2 and AVX-512 alone"
        return fault(about, fix)
    if _AMX in facts.flags:
        return ok(
            f"{about}: bfloat16 gave wrong text on CPUs with AMX, without an error, so model "
            "configs for them say `dtype: float32`"
        )
    return ok(
        f"{about}: model configs say `enforce_eager: true`, for compiled bfloat16 gave wrong text"
    )
