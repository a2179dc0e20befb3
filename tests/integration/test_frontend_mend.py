"""The frontend's table of requests, which two of its threads change."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

import jvm
from nodes import CONFIG, Node
from traffic import rush
from tslc.domain.frontend_mend import CLASS, KNOWN

pytestmark = pytest.mark.integration

ECHO = """
def initialize(context): pass
async def handle(data, context): return [b"echo"] * len(data)
handle.initialize = initialize
"""
CLIENTS, EACH = 16, 250


@pytest.fixture
def echo(node: Node, tmp_path: Path) -> Iterator[str]:
    """An archive as others make them: one message an answer, and the frontend keeps each."""
    (tmp_path / "echo.py").write_text(ECHO)
    # At its worker's end what was kept is queued again, and a full queue would stop `unregister`.
    config = {**CONFIG, "jobQueueSize": 2 * CLIENTS * EACH}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "model_archiver.model_packaging", "--model-name", "echo"]
    command += ["--version", "1.0", "--handler", "echo.py", "--config-file", "config.yaml"]
    store = node.root / "model_store"
    subprocess.run([*command, "--export-path", store], cwd=tmp_path, check=True)
    keys = json.loads(node.key_file.read_text())
    headers = {"authorization": f"Bearer {keys['management']['key']}"}
    with httpx.Client(base_url=node.management_url, headers=headers, timeout=60) as management:
        query = {"url": "echo.mar", "initial_workers": "1", "synchronous": "true"}
        management.post("/models", params=query).raise_for_status()
        yield "/predictions/echo"
        management.delete("/models/echo/1.0").raise_for_status()


async def test_a_growing_table_loses_no_request(node: Node, echo: str) -> None:
    kept = jvm.kept_jobs(node.pid)
    asked = {"clients": CLIENTS, "each": EACH}
    answers = await rush(node.inference_url + echo, {}, node.inference_key(), **asked)
    assert answers == {(200, "echo"): CLIENTS * EACH}
    alive = jvm.live_objects(node.pid)
    assert alive[jvm.REST_JOB][0] - kept == CLIENTS * EACH, "each is kept: the table did grow"
    # The race itself strikes once in a few such crowds; which table was raced for is certain.
    assert alive["java.util.concurrent.ConcurrentHashMap$Node"][0] >= CLIENTS * EACH
    assert alive["java.util.LinkedHashMap$Entry"][0] < CLIENTS * EACH


def test_the_mended_class_is_the_nodes_own(node: Node) -> None:
    mended = (node.root / CLASS).read_bytes()
    assert b"LinkedHashMap" not in mended
    stock = mended.replace(b"\x00\x26java/util/concurrent/Concurrent", b"\x00\x17java/util/Linked")
    assert hashlib.sha256(stock).hexdigest() == KNOWN
