"""Whether the cards, their driver and the torch that is installed go together.

A driver runs programs that were built for the CUDA it names or an older one; within one major
release also newer ones, as far as they use nothing new (NVIDIA calls it minor version
compatibility).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tslc.domain.doctor.finding import Finding, fault, not_applicable, ok, warning
from tslc.domain.doctor.packages import Installed, build_text, release
from tslc.domain.gpus import MIB, gib

_CUDA = re.compile(r"CUDA (?:UMD )?Version\s*:\s*(\d+\.\d+)")
_INSTALL_DRIVER = "install the NVIDIA driver; in a container: docker run --gpus all …"


@dataclass(frozen=True)
class Gpu:
    """`memory` in bytes."""

    name: str
    driver: str
    memory: int


@dataclass(frozen=True)
class GpuFacts:
    """`asked`: nvidia-smi is there and was run; `problem`: what it said when it failed;
    `driver_cuda`: the newest CUDA the driver knows; `torch`: None when it is not installed."""

    torch: Installed | None
    asked: bool = False
    problem: str = ""
    gpus: tuple[Gpu, ...] = ()
    driver_cuda: str | None = None


def parse_gpus(printed: str) -> tuple[Gpu, ...]:
    """What `nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader,nounits`
    prints; lines of another form are no cards."""
    found = []
    for line in printed.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == 3 and parts[2].isdigit():
            found.append(Gpu(parts[0], parts[1], int(parts[2]) * MIB))
    return tuple(found)


def parse_driver_cuda(printed: str) -> str | None:
    """The CUDA version in the head of what `nvidia-smi` prints."""
    match = _CUDA.search(printed)
    return match[1] if match else None


def judge_gpu(facts: GpuFacts) -> Finding:
    torch = facts.torch
    if torch is None:
        return not_applicable("torch is not installed: nothing would use a GPU")
    if torch.rocm:
        return not_applicable("torch is built for ROCm, which is not checked")
    if torch.cuda is None:
        return _with_cpu_build(facts)
    built = f"torch {torch.version} is {build_text(torch)}"
    if facts.problem:
        return fault(f"nvidia-smi fails ({facts.problem}), and {built}", _driver_fix(facts.problem))
    if not facts.gpus:
        fix = f"{_INSTALL_DRIVER}; without a GPU: pip install 'tslc[cpu]'"
        return fault(f"{built}, and no NVIDIA GPU is found", fix)
    return _with_cards(facts, torch.cuda, built)


def _with_cpu_build(facts: GpuFacts) -> Finding:
    if facts.gpus:
        said = f"{cards_text(facts.gpus)} found, and torch is a CPU build: not used"
        return warning(said, "pip install 'tslc[gpu]'   # in a new environment")
    if facts.problem:
        said = f"nvidia-smi fails ({facts.problem}); torch is a CPU build and needs no GPU"
        return warning(said, _driver_fix(facts.problem))
    return ok("none, and torch is a CPU build")


def _with_cards(facts: GpuFacts, cuda: str, built: str) -> Finding:
    cards = f"{cards_text(facts.gpus)}, driver {facts.gpus[0].driver}"
    if facts.driver_cuda is None or cuda == "?":
        return ok(f"{cards}; {built}")
    said = f"{cards} (CUDA {facts.driver_cuda}); {built}"
    driver, wanted = release(facts.driver_cuda), release(cuda)
    newer = f"install a driver for CUDA {cuda} or newer, or a torch built for {facts.driver_cuda}"
    if driver[0] < wanted[0]:
        return fault(said, newer)
    if driver < wanted:
        return warning(f"{said}: it runs as long as it uses nothing new of {cuda}", newer)
    return ok(said)


def cards_text(gpus: tuple[Gpu, ...]) -> str:
    kinds = {(one.name, one.memory): 0 for one in gpus}
    for one in gpus:
        kinds[one.name, one.memory] += 1
    return ", ".join(f"{n} × {name} ({gib(memory)})" for (name, memory), n in kinds.items())


def _driver_fix(problem: str) -> str:
    if "mismatch" in problem.lower():
        return "reboot: the kernel still runs the driver from before an upgrade"
    return f"nvidia-smi   # has to list the GPUs; {_INSTALL_DRIVER}"
