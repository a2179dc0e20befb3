"""The example of GitHub Actions: pinned, without keys, its steps runnable on any machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from workflow_runner import NotGiven, run_job

WORKFLOW = Path(__file__).parents[3] / "deploy" / "github-actions" / "release.yml"
JOBS: dict[str, Any] = yaml.safe_load(WORKFLOW.read_text())["jobs"]
STEPS = [step for job in JOBS.values() for step in job["steps"]]


def test_every_action_is_pinned_to_a_commit() -> None:
    used = [step["uses"] for step in STEPS if "uses" in step]
    assert used
    for one in used:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", one), one


def test_no_key_of_aws_is_named_and_no_script_takes_in_what_somebody_else_wrote() -> None:
    assert not re.search(r"(?i)access.key|secret.access", WORKFLOW.read_text())
    for step in STEPS:
        assert "${{" not in step.get("run", "")


def test_scripts_call_only_tslc_and_pip() -> None:
    commands = [line for step in STEPS for line in step.get("run", "").splitlines() if line]
    words = {word for line in commands for word in re.findall(r"(?:^|\| )\s*(\w+)", line)}
    assert words == {"pip", "tslc", "set", "tee"}


def test_each_job_may_read_the_code_and_ask_for_an_identity_and_no_more() -> None:
    assert yaml.safe_load(WORKFLOW.read_text())["permissions"] == {}
    for job in JOBS.values():
        assert job["permissions"] == {"contents": "read", "id-token": "write"}


FAKE = """
import sys, os
with open("calls", "a") as calls:
    print(*sys.argv[1:], file=calls)
print("said", sys.argv[1])
sys.exit(int(os.environ.get("FAIL_" + sys.argv[1].upper(), "0")))
"""


@pytest.fixture
def path_of_fakes(tmp_path: Path) -> str:
    """A `tslc` and a `pip` that only write down how they were called: the runner is tested here."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("tslc", "pip"):
        file = folder / name
        file.write_text(f"#!/usr/bin/env python3\n{FAKE}")
        file.chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


def test_a_job_runs_its_steps_in_order_with_the_variables_of_all_levels(
    tmp_path: Path, path_of_fakes: str
) -> None:
    given = {"PATH": path_of_fakes, "VERSION": "abc", "INSTALL": "tslc==0.1.0", "SIGN_WITH": "k"}
    ran = run_job(WORKFLOW, "push", tmp_path, tmp_path / "out", given, 60)
    assert ran.succeeded, ran
    assert (tmp_path / "calls").read_text().splitlines() == [
        "install --quiet tslc==0.1.0",
        "lint archives/support-bot",
        "build archives/support-bot --version abc -o dist",
        "push dist/support-bot-abc.mar --sign k",
    ]


def test_a_gate_that_fails_ends_the_job_though_its_text_goes_through_a_pipe(
    tmp_path: Path, path_of_fakes: str
) -> None:
    given = {"PATH": path_of_fakes, "VERSION": "abc", "INSTALL": "t", "FAIL_EVAL": "3"}
    given |= {"ROUTER": "http://r", "TSLC_API_KEY": "k"}
    ran = run_job(WORKFLOW, "staging", tmp_path, tmp_path / "out", given, 60)
    assert [step.code for step in ran.steps] == [0, 0, 3]
    assert ran.summary == ""


def test_a_value_that_only_github_knows_has_to_be_given(tmp_path: Path) -> None:
    with pytest.raises(NotGiven):
        run_job(WORKFLOW, "push", tmp_path, tmp_path / "out", {"VERSION": "1"}, 60)
