"""Limits of the machine that end in errors which don't name them."""

from __future__ import annotations

from dataclasses import dataclass

from tslc.domain.doctor.finding import Finding, fault, ok, warning
from tslc.domain.gpus import GIB, MIB, gib

# vLLM raises its own limit to that, as far as the hard one lets it; Java goes to the hard one.
WANTED_FILES = 65_535
# A client takes two in the router and one in the worker: with fewer, some hundred clients are all.
LEAST_FILES = 4_096
# Docker's default; ranks of one engine exchange tensors and messages through it.
DOCKER_SHM = 64 * MIB
WANTED_SHM = GIB


def judge_open_files(hard: int | None) -> Finding:
    """`hard`: the limit a process may raise its own to; None for no limit."""
    fix = f"ulimit -Hn {WANTED_FILES}   # or LimitNOFILE= of the unit; docker run --ulimit nofile=…"
    if hard is None:
        return ok("no limit")
    said = f"a process may open {hard} files and sockets"
    if hard < LEAST_FILES:
        return fault(f"{said}: a few hundred clients are all", fix)
    if hard < WANTED_FILES:
        return warning(f"{said}; vLLM asks for {WANTED_FILES}", fix)
    return ok(said)


@dataclass(frozen=True)
class SharedMemory:
    """Bytes of /dev/shm; `total` None when there is none. `gpus`: cards of this machine."""

    total: int | None
    free: int = 0
    gpus: int = 0


def judge_shared_memory(facts: SharedMemory) -> Finding:
    fix = "docker run --shm-size=2g …   # or: mount -o remount,size=2g /dev/shm"
    if facts.total is None:
        return fault("there is no /dev/shm", "mount -t tmpfs -o size=2g tmpfs /dev/shm")
    said = f"/dev/shm has {gib(facts.total)}, {gib(facts.free)} of it free"  # noqa: S108
    if facts.free < WANTED_SHM:
        if facts.gpus > 1 and facts.free <= DOCKER_SHM:
            return fault(f"{said}: engines on several GPUs end with a bus error", fix)
        return warning(f"{said}; engines on several GPUs need more", fix)
    return ok(said)
