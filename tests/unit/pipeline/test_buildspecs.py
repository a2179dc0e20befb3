"""The buildspecs call what there is; and the runner does with one what CodeBuild does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from buildspec_runner import Built, UnknownBuildspec, read, run

FOLDER = Path(__file__).parents[3] / "deploy" / "codepipeline" / "buildspecs"
SPECS = sorted(FOLDER.glob("*.yml"))
SHELL = ("export", "mkdir", "cat")


@pytest.fixture
def ran(tmp_path: Path) -> object:
    def go(text: str, **environment: str) -> Built:
        spec = tmp_path / "spec.yml"
        spec.write_text(text)
        (tmp_path / "src").mkdir(exist_ok=True)
        return run(spec, tmp_path / "src", tmp_path / "out", environment, 30)

    return go


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_a_buildspec_calls_only_tslc_and_pip(path: Path) -> None:
    spec = read(path)
    for phase in spec["phases"].values():
        for command in [*phase["commands"], *phase.get("finally", [])]:
            words = re.findall(r"(?:^|\| |\$\()(\w+)", command)
            assert set(words) <= {"tslc", "pip", *SHELL}, command
            # In a pipe the exit code of a gate could get lost.
            assert "|" not in command.replace("||", "")


FAKE = """#!/usr/bin/env bash
echo "$(basename "$0") $*" >> "$CALLS"
case "$1 $2" in
  eval*) echo "1 of 2 passed"; echo "<x/>" > report/evaluation.xml; exit "$EVAL" ;;
  *brief*) [[ "$*" != *--short ]] || echo "all in one line"; touch report/brief.txt ;;
esac
"""


@pytest.mark.parametrize("gate", [0, 3])
def test_the_evaluation_is_a_gate_and_its_text_is_seen_whatever_it_says(
    tmp_path: Path, gate: int
) -> None:
    """With a `tslc` that only writes down how it was called: the buildspec is tested here."""
    for name in ("tslc", "pip"):
        file = tmp_path / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(FAKE)
        file.chmod(0o755)
    given = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "CALLS": str(tmp_path / "calls")}
    names = ("INSTALL", "MODEL", "VERSION", "ROUTER", "STAGING", "PRODUCTION")
    given |= {name: name.lower() for name in names} | {"EVAL": str(gate)}
    (tmp_path / "src").mkdir()

    built = run(FOLDER / "evaluate.yml", tmp_path / "src", tmp_path / "out", given, 30)

    assert "1 of 2 passed" in built.log
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[1].startswith("tslc eval model version --url router --env staging --junit")
    if gate:
        assert not built.succeeded
        assert built.phases == {"install": 0, "build": 3}
        assert len(calls) == 2
        assert "BRIEF" not in built.exported
    else:
        assert built.succeeded, built.log
        assert built.exported == {"BRIEF": "all in one line"}
        assert built.artifacts == tuple(
            f"report/{name}" for name in ("brief.txt", "evaluation.txt", "evaluation.xml")
        )


def test_commands_share_a_shell_and_variables_are_handed_on(ran: object) -> None:
    built = ran(  # type: ignore[operator]
        """
version: 0.2
env: {variables: {A: from-spec, C: spec}, exported-variables: [A, B, NEVER]}
phases:
  install: {commands: ['export B="two\nlines"']}
  build: {commands: ['mkdir -p dist', 'echo "$B$C" > dist/x.mar', 'echo no > dist/x.txt']}
artifacts: {files: ["dist/*.mar"]}
""",
        C="given",
    )
    assert built.succeeded, built.log
    assert built.exported == {"A": "from-spec", "B": "two lines"}
    assert built.artifacts == ("dist/x.mar",)


def test_a_failed_build_still_has_its_post_build_and_finally_and_is_no_success(
    ran: object,
) -> None:
    built = ran(  # type: ignore[operator]
        """
version: 0.2
phases:
  build:
    commands: ['echo one', '(exit 3)', 'echo never-said']
    finally: ['echo tidied']
  post_build: {commands: ['echo "after: $CODEBUILD_BUILD_SUCCEEDING"']}
"""
    )
    assert not built.succeeded
    assert built.phases == {"build": 3, "post_build": 0}
    said = [line for line in built.log.splitlines() if not line.startswith("$ ")]
    assert said == ["one", "tidied", "after: 0"]


def test_a_failed_pre_build_ends_the_build(ran: object) -> None:
    built = ran(  # type: ignore[operator]
        "version: 0.2\nphases:\n  pre_build: {commands: ['false'], finally: ['echo tidied']}\n"
        "  build: {commands: ['echo never-said']}\n"
    )
    assert built.phases == {"pre_build": 1}
    assert "tidied" in built.log
    assert "\nnever-said" not in built.log


def test_an_artifact_that_is_not_there_is_no_success(ran: object) -> None:
    built = ran(  # type: ignore[operator]
        "version: 0.2\nphases: {build: {commands: ['true']}}\nartifacts: {files: ['dist/*']}\n"
    )
    assert not built.succeeded
    assert built.missing == ("dist/*",)


@pytest.mark.parametrize(
    "text",
    [
        "version: 0.1\nphases: {}",
        "version: 0.2\nphases: {deploy: {commands: []}}",
        "version: 0.2\nphases: {build: {commands: [], on-failure: CONTINUE}}",
        "version: 0.2\nphases: {}\ncache: {paths: []}",
    ],
)
def test_what_is_not_imitated_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "spec.yml"
    path.write_text(text)
    with pytest.raises(UnknownBuildspec):
        read(path)


def test_the_template_runs_the_buildspecs_themselves() -> None:
    template = (FOLDER.parent / "template.yaml").read_text()
    blocks = re.findall(r"^        BuildSpec: \|\n((?:          .*\n|\n)+)", template, re.MULTILINE)
    inside = [yaml.safe_load(block) for block in blocks]
    assert len(inside) == len(SPECS) == 5
    for path in SPECS:
        assert yaml.safe_load(path.read_text()) in inside
