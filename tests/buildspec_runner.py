"""Runs a buildspec on this machine, phase by phase, as CodeBuild does.

    python tests/buildspec_runner.py deploy/codepipeline/buildspecs/build.yml --cwd CHECKOUT \\
        --out FOLDER --env MODEL=support-bot …

All commands run in one shell, so what one exports the next one sees. A command that fails ends its
phase: install and pre_build end the build with it, after build follows post_build all the same;
`finally` of a phase runs whatever happened in it. Then the exported variables, the files of the
artifact and of the reports are gathered. Known keys only: a buildspec that asks for more than is
imitated here is refused, not half run.
"""

from __future__ import annotations

import argparse
import glob
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

PHASES = ("install", "pre_build", "build", "post_build")
_KEYS: Mapping[str, frozenset[str]] = {
    "": frozenset({"version", "env", "phases", "artifacts", "reports"}),
    "env": frozenset({"shell", "variables", "exported-variables"}),
    "phase": frozenset({"commands", "finally"}),
    "artifacts": frozenset({"files", "base-directory", "discard-paths"}),
    "report": frozenset({"files", "file-format", "base-directory"}),
}


class UnknownBuildspec(Exception):
    """It has what this runner does not imitate."""


@dataclass(frozen=True)
class Built:
    """`phases`: how each ended, of those that ran; `exported`: the variables handed on; `artifacts`
    and `reports`: files below `out`; `log`: what the commands printed, both streams."""

    succeeded: bool
    phases: Mapping[str, int]
    exported: Mapping[str, str]
    artifacts: tuple[str, ...]
    reports: tuple[str, ...]
    log: str
    missing: tuple[str, ...] = field(default=())


def run(
    buildspec: Path, cwd: Path, out: Path, environment: Mapping[str, str], seconds: float = 3600
) -> Built:
    """Run it in `cwd`; the artifact goes to `out`/artifact, reports to `out`/reports.

    `environment` is all the commands see besides PATH, HOME and what CodeBuild itself sets.
    """
    spec = read(buildspec)
    out.mkdir(parents=True, exist_ok=True)
    ends, exports = out / "phases.json", out / "exported.json"
    for old in (ends, exports):
        old.unlink(missing_ok=True)
    script = out / "build.sh"
    names = spec.get("env", {}).get("exported-variables", [])
    script.write_text(_script(spec, names, ends, exports))
    variables = {
        **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
        "CODEBUILD_SRC_DIR": str(cwd),
        "CODEBUILD_BUILD_SUCCEEDING": "1",
        **{key: str(value) for key, value in spec.get("env", {}).get("variables", {}).items()},
        **environment,
    }
    with (out / "log").open("wb") as log:
        subprocess.run(
            ["bash", str(script)],
            cwd=cwd, env=variables, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            timeout=seconds, check=False,
        )  # fmt: skip
    phases = _read_pairs(ends)
    codes = {name: int(code) for name, code in phases.items()}
    artifact = spec.get("artifacts", {})
    artifacts, missing = _gather(cwd, artifact, out / "artifact") if artifact else ((), ())
    reports: tuple[str, ...] = ()
    for report in spec.get("reports", {}).values():
        found, gone = _gather(cwd, report, out / "reports")
        reports, missing = reports + found, missing + gone
    complete = "build" in codes and not any(codes.values())
    return Built(
        succeeded=complete and not missing,
        phases=codes,
        exported=_read_pairs(exports),
        artifacts=artifacts,
        reports=reports,
        log=(out / "log").read_text(errors="replace"),
        missing=missing,
    )


def read(buildspec: Path) -> dict[str, Any]:
    """Raises UnknownBuildspec."""
    spec = yaml.safe_load(buildspec.read_text())
    if spec.get("version") != 0.2:
        raise UnknownBuildspec("version is not 0.2")
    _expect_known("", spec)
    _expect_known("env", spec.get("env", {}))
    if spec.get("env", {}).get("shell", "bash") != "bash":
        raise UnknownBuildspec("a shell that is not bash")
    for name, phase in spec["phases"].items():
        if name not in PHASES:
            raise UnknownBuildspec(f"no phase {name}")
        _expect_known("phase", phase)
    _expect_known("artifacts", spec.get("artifacts", {}))
    for report in spec.get("reports", {}).values():
        _expect_known("report", report)
    return dict(spec)


def _expect_known(section: str, found: Mapping[str, Any]) -> None:
    if unknown := set(found) - _KEYS[section]:
        raise UnknownBuildspec(f"{section or 'the buildspec'} has {sorted(unknown)}")


def _script(spec: Mapping[str, Any], names: Sequence[str], ends: Path, exports: Path) -> str:
    """One shell for all: `__go` says whether the next phase runs."""
    lines = ["__go=1"]
    for name in PHASES:
        phase = spec["phases"].get(name)
        if phase is None:
            continue
        lines += ["if [ $__go = 1 ]; then", "__code=0"]
        lines += [_command(one, "[ $__code = 0 ]") for one in phase["commands"]]
        lines += ["__end=0"]
        lines += [_command(one, "[ $__end = 0 ]", "__end") for one in phase.get("finally", ())]
        lines += [
            "[ $__code = 0 ] && __code=$__end",
            f"printf '%s\\0%s\\0' {name} $__code >> {shlex.quote(str(ends))}",
            "[ $__code = 0 ] || export CODEBUILD_BUILD_SUCCEEDING=0",
        ]
        if name in ("install", "pre_build"):
            lines.append("[ $__code = 0 ] || __go=0")
        lines.append("fi")
    for name in names:
        lines.append(
            f'[ -z "${{{name}+x}}" ] || printf \'%s\\0%s\\0\' {name} "${name}"'
            f" >> {shlex.quote(str(exports))}"
        )
    return "\n".join(lines) + "\n"


def _command(command: str, condition: str, code: str = "__code") -> str:
    said = shlex.quote(f"$ {command}")
    return f"if {condition}; then printf '%s\\n' {said}; eval {shlex.quote(command)}; {code}=$?; fi"


def _read_pairs(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    words = path.read_bytes().decode().split("\0")[:-1]
    return dict(zip(words[::2], words[1::2], strict=True))


def _gather(
    cwd: Path, wanted: Mapping[str, Any], to: Path
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Copies of the files that the patterns name; and the patterns that name none."""
    base = cwd / wanted.get("base-directory", ".")
    found: list[str] = []
    missing: list[str] = []
    for pattern in wanted["files"]:
        matches = sorted(glob.glob(pattern, root_dir=base, recursive=True))
        files = [one for one in matches if (base / one).is_file()]
        if not files:
            missing.append(pattern)
        for one in files:
            name = Path(one).name if wanted.get("discard-paths") else one
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(base / one, to / name)
            found.append(name)
    return tuple(found), tuple(missing)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("buildspec", type=Path)
    parser.add_argument("--cwd", type=Path, default=Path.cwd())
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    said = parser.parse_args()
    environment = dict(one.split("=", 1) for one in said.env)
    built = run(said.buildspec, said.cwd.resolve(), said.out.resolve(), environment)
    sys.stderr.write(built.log)
    told = {**vars(built), "log": str(said.out / "log")}
    print(json.dumps(told, indent=2))
    return 0 if built.succeeded else 1


if __name__ == "__main__":
    sys.exit(main())
