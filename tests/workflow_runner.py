"""Runs the `run:` steps of a GitHub Actions job on this machine.

    python tests/workflow_runner.py deploy/github-actions/release.yml push --cwd CHECKOUT \\
        --out FOLDER --env SIGN_WITH=release.key …

Each step is a bash of its own that ends at its first failing command, with the variables of the
workflow, the job and the step. What a variable takes from GitHub (`${{ … }}`) has to be given; in a
script such a thing is refused. Steps that use an action are passed over.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

EXPRESSION = "${{"


class NotGiven(Exception):
    """A value that only GitHub knows, and that nobody gave."""


@dataclass(frozen=True)
class Step:
    command: str
    code: int
    out: str


@dataclass(frozen=True)
class JobRan:
    """`steps`: those that ran; the last one failed, or none did. `summary`: what they wrote."""

    steps: tuple[Step, ...]
    summary: str

    @property
    def succeeded(self) -> bool:
        return all(step.code == 0 for step in self.steps)


def run_job(
    workflow: Path, job: str, cwd: Path, out: Path, given: Mapping[str, str], seconds: float = 3600
) -> JobRan:
    """Its steps in `cwd`, one after the other, until one fails."""
    document = yaml.safe_load(workflow.read_text())
    wanted = document["jobs"][job]
    out.mkdir(parents=True, exist_ok=True)
    summary = out / "summary.md"
    summary.write_text("")
    base = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    base |= {"GITHUB_STEP_SUMMARY": str(summary), "GITHUB_RUN_ID": "1", "CI": "true"}
    steps: list[Step] = []
    for step in wanted["steps"]:
        if "run" not in step:
            continue
        command = str(step["run"])
        if EXPRESSION in command:
            raise NotGiven(f"an expression in a script: {command}")
        variables = _variables(given, document, wanted, step)
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", command],
            cwd=cwd, env={**base, **given, **variables}, capture_output=True, text=True,
            stdin=subprocess.DEVNULL, timeout=seconds, check=False,
        )  # fmt: skip
        steps.append(Step(command, done.returncode, done.stdout + done.stderr))
        if done.returncode:
            break
    return JobRan(tuple(steps), summary.read_text())


def _variables(given: Mapping[str, str], *levels: Mapping[str, Any]) -> dict[str, str]:
    """The inner level wins; what is given wins over what only GitHub knows."""
    merged: dict[str, str] = {}
    for level in levels:
        for name, value in level.get("env", {}).items():
            text = str(value)
            if EXPRESSION in text:
                if name not in given:
                    raise NotGiven(name)
                text = given[name]
            merged[name] = text
    return merged


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("workflow", type=Path)
    parser.add_argument("job")
    parser.add_argument("--cwd", type=Path, default=Path.cwd())
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    said = parser.parse_args()
    given = dict(one.split("=", 1) for one in said.env)
    ran = run_job(said.workflow, said.job, said.cwd.resolve(), said.out.resolve(), given)
    for step in ran.steps:
        sys.stderr.write(f"$ {step.command}\n{step.out}")
    print(json.dumps({"codes": [one.code for one in ran.steps], "summary": ran.summary}, indent=2))
    return 0 if ran.succeeded else 1


if __name__ == "__main__":
    sys.exit(main())
