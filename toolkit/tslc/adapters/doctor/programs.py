"""What programs of this machine say of themselves: Java, Envoy, nvidia-smi."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tslc.adapters.envoy_process import find_envoy
from tslc.adapters.torchserve_process import find_java
from tslc.domain.doctor.envoy import EnvoyFacts
from tslc.domain.doctor.gpu import GpuFacts, parse_driver_cuda, parse_gpus
from tslc.domain.doctor.java import JavaFacts
from tslc.domain.doctor.packages import Installed
from tslc.errors import BadInput

_SECONDS = 10.0
_QUERY = ("--query-gpu=name,driver_version,memory.total", "--format=csv,noheader,nounits")


@dataclass(frozen=True)
class _Said:
    """`problem` is empty when it ended well."""

    text: str
    problem: str = ""


def _run(command: Sequence[str], env: Mapping[str, str]) -> _Said:
    """Both streams; a program that can't be started, fails or hangs has a problem."""
    try:
        done = subprocess.run(
            command,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return _Said("", f"it did not end within {_SECONDS:g} s")
    except OSError as error:
        return _Said("", str(error.strerror or error))
    text = done.stdout.decode("utf-8", "replace")
    if done.returncode:
        words = " ".join(text.split())[:200] or "it said nothing"
        return _Said(text, f"{words} (exit {done.returncode})")
    return _Said(text)


def java_facts(env: Mapping[str, str]) -> JavaFacts:
    """Of the Java that `tslc up` would take."""
    try:
        java = find_java(env)
    except BadInput as error:
        return JavaFacts(None, problem=error.message, hint=error.hint or "")
    binary = str(java.home / "bin" / "java") if java.home else "java"
    said = _run([binary, "-version"], env)
    return JavaFacts(str(java), said.text, said.problem)


def envoy_facts(env: Mapping[str, str]) -> EnvoyFacts:
    """Of the Envoy that `tslc up` would take."""
    try:
        path = find_envoy(env)
    except BadInput:
        return EnvoyFacts(None)
    said = _run([str(path), "--version"], env)
    return EnvoyFacts(str(path), said.text, said.problem)


def gpu_facts(torch: Installed | None, env: Mapping[str, str]) -> GpuFacts:
    smi = shutil.which("nvidia-smi", path=env.get("PATH", os.defpath))
    if smi is None:
        loaded = Path("/proc/driver/nvidia/version").exists()
        problem = "it is not on PATH, and the driver is loaded" if loaded else ""
        return GpuFacts(torch, problem=problem)
    listed = _run([smi, *_QUERY], env)
    if listed.problem:
        nothing = "no devices were found" in listed.text.lower()
        return GpuFacts(torch, asked=True, problem="" if nothing else listed.problem)
    head = _run([smi], env)
    return GpuFacts(
        torch,
        asked=True,
        gpus=parse_gpus(listed.text),
        driver_cuda=parse_driver_cuda(head.text),
    )
