"""Archives that others built take the same road: split, promoted and rolled back."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from environments import Served, ServingNode, served
from nodes import TinyArchives, eventually, kill
from nodes import short_folder as make_folder
from s3 import S3Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]
# As handlers were written for TorchServe for years: a function, no tslc, no vLLM.
HANDLER = """
def handle(data, context):
    if data is None:
        return None
    return [f"%s says {(one.get('body') or one.get('data')).decode()}" for one in data]
"""


def mar(folder: Path, version: str) -> Path:
    path = folder / f"old-{version}.mar"
    about = {"modelName": "old", "handler": "h.py", "modelVersion": version}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps({"model": about}))
        archive.writestr("h.py", HANDLER % version)
    return path


@pytest.fixture(scope="module")
def environment(s3: S3Server, archives: TinyArchives) -> Iterator[Served]:
    with make_folder() as folder, served(s3, archives, folder) as running:
        for version in ("1.0", "2.0"):
            named = ("--model", "old", "--version", version)
            running("push", mar(folder, version), *named)
        running("promote", "old", "1.0", "--wait")
        yield running


def ask(node: ServingNode, path: str = "/predictions/old", **more: str) -> httpx.Response:
    return httpx.post(node.url + path, content=b"hi", headers=more, timeout=60, verify=False)


def test_a_foreign_archive_is_split_promoted_and_rolled_back(environment: Served) -> None:
    node = environment.node
    answer = ask(node)
    assert (answer.status_code, answer.text) == (200, "1.0 says hi")
    assert answer.headers["x-tslc-version"] == "1.0"

    environment("split", "old", "1.0=50", "2.0=50", "--wait")
    seen = Counter(ask(node).text for _ in range(60))
    assert set(seen) == {"1.0 says hi", "2.0 says hi"}
    assert ask(node, "/predictions/old/2.0").text == "2.0 says hi"
    assert ask(node, "/predictions/none").status_code == 404
    assert ask(node, "/v1/completions").status_code in (400, 404)

    environment("promote", "old", "2.0", "--wait")
    assert {ask(node).text for _ in range(5)} == {"2.0 says hi"}
    environment("rollback", "old", "--wait")
    assert {ask(node).text for _ in range(5)} == {"1.0 says hi"}
    environment("retire", "old", "2.0", "--wait")
    assert set(node.versions("old")) == {"1.0"}


def test_torchserves_own_key_is_nobodys_but_the_routers(environment: Served) -> None:
    node = environment.node
    key = node.node.inference_key()
    assert key not in node.log()
    assert key not in (node.folder / "router" / "access.log").read_text()
    assert ask(node, authorization="Bearer something else").status_code == 200


def test_its_dead_worker_is_replaced(environment: Served) -> None:
    node = environment.node
    (described,) = node.node.cli.ok("status", "--json", "--name", "n0").json["versions"]
    workers = [
        one for one in node.node.processes() if "model_service_worker" in " ".join(one.cmdline())
    ]
    assert described["model"] == "old"
    assert workers
    for one in workers:
        kill(one.pid)
    assert eventually(lambda: ask(node).status_code == 200, 60)
