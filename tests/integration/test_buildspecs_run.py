"""The pipeline's buildspecs, run for real: a spec in a checkout, a real S3 store, a real TorchServe
with an engine that needs no model."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from buildspec_runner import Built, run
from nodes import Cli, TinyArchives
from store_shop import Shop

BUILDSPECS = Path(__file__).parents[2] / "deploy" / "codepipeline" / "buildspecs"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
VERSION = COMMIT[:12]
MODEL = "piped"


@dataclass(frozen=True)
class Pipeline:
    """A checkout with a spec, and what CodePipeline hands from action to action."""

    checkout: Path
    out: Path
    environment: Mapping[str, str]

    def run(self, name: str, **more: str) -> Built:
        built = {"CODEBUILD_SRC_DIR_Built": str(self.out / "build" / "artifact")}
        environment = {**self.environment, **built, **more}
        spec = BUILDSPECS / f"{name}.yml"
        return run(spec, self.checkout, self.out / name, environment, 300)


@pytest.fixture
def pipeline(shop: Shop, archives: TinyArchives, short_folder: Path, tmp_path: Path) -> Pipeline:
    archive = archives.build(MODEL, "0")
    checkout = tmp_path / "checkout"
    shutil.copytree(archive.parents[1], checkout / "archives" / MODEL)
    shutil.rmtree(checkout / "archives" / MODEL / "dist")
    Cli(tmp_path, checkout).ok("keygen", checkout / "release")
    (checkout / "tslc.yaml").write_text(
        "environments:\n"
        "  staging: {trusted_keys: [release.pub]}\n"
        "  production: {trusted_keys: [release.pub]}\n"
    )
    home = short_folder / "piped"
    home.mkdir(exist_ok=True)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    inherited = {key: os.environ[key] for key in ("PYTHONPATH",) if key in os.environ}
    given = {
        "PATH": path,
        "TSLC_HOME": str(home),
        # It is there already: nothing is fetched, and what it needs is not looked through.
        "INSTALL": "tslc==0.1.0",
        "PIP_NO_DEPS": "1",
        "MODEL": MODEL,
        "SPEC": f"archives/{MODEL}",
        "STAGING": "staging",
        "PRODUCTION": "production",
        "CODEBUILD_RESOLVED_SOURCE_VERSION": COMMIT,
    }
    return Pipeline(checkout, tmp_path / "out", {**inherited, **shop.env, **given})


def test_a_commit_is_built_tested_on_a_real_server_pushed_and_signed(
    pipeline: Pipeline, shop: Shop
) -> None:
    built = pipeline.run("build")
    assert built.succeeded, built.log
    assert built.exported == {"VERSION": VERSION}
    assert built.artifacts == (f"dist/{MODEL}-{VERSION}.mar",)

    tested = pipeline.run("test", VERSION=VERSION)
    assert tested.succeeded, tested.log
    assert "\n$ tslc down" in tested.log
    assert left_of(Path(pipeline.environment["TSLC_HOME"])) == []

    key = str(pipeline.checkout / "release.key")
    pushed = pipeline.run("push", VERSION=VERSION, SIGN_WITH=key)
    assert pushed.succeeded, pushed.log
    shown = shop.ok("show", MODEL, VERSION)
    assert shown["signed"]

    config = str(pipeline.checkout / "tslc.yaml")
    words = ("--env", "production", "--config", config)
    brief = shop.ok("pipeline", "brief", MODEL, VERSION, *words)
    assert brief["served"] is None
    assert brief["short"] == f"{MODEL} {VERSION} for production, its first version"


def test_an_archive_that_is_not_what_the_commit_says_is_not_pushed(
    pipeline: Pipeline, shop: Shop
) -> None:
    assert pipeline.run("build").succeeded
    golden = pipeline.checkout / "archives" / MODEL / "golden.jsonl"
    golden.write_text(golden.read_text().replace('"echo"', '"other"'))
    key = str(pipeline.checkout / "release.key")
    pushed = pipeline.run("push", VERSION=VERSION, SIGN_WITH=key)
    assert not pushed.succeeded
    assert pushed.phases["pre_build"] == 3
    assert shop("show", MODEL, VERSION).code == 2


def test_a_spec_with_a_mistake_ends_the_build_before_anything_is_built(
    pipeline: Pipeline,
) -> None:
    spec = pipeline.checkout / "archives" / MODEL / "archive.yaml"
    spec.write_text(spec.read_text() + "golde: x\n")
    built = pipeline.run("build")
    assert built.phases == {"install": 0, "pre_build": built.phases["pre_build"]}
    assert built.phases["pre_build"] != 0
    assert "golde" in built.log
    assert not built.succeeded


def test_a_version_that_answers_a_golden_prompt_wrongly_is_not_tested_and_no_node_is_left(
    pipeline: Pipeline,
) -> None:
    golden = pipeline.checkout / "archives" / MODEL / "golden.jsonl"
    prompt = json.loads(golden.read_text())
    prompt["expect"] = {"contains": ["goodbye"], "within_seconds": 30}
    golden.write_text(json.dumps(prompt) + "\n")
    assert pipeline.run("build").succeeded
    tested = pipeline.run("test", VERSION=VERSION)
    assert tested.phases["build"] != 0
    assert not tested.succeeded
    assert "\n$ tslc down" in tested.log
    assert left_of(Path(pipeline.environment["TSLC_HOME"])) == []


def left_of(home: Path) -> list[str]:
    """Processes that were started with this home."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TSLC_HOME") == str(home):
                found.append(process.name())
        except psutil.Error:
            continue
    return found
