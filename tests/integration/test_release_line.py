"""From a git commit to all of production's traffic, or to where it is stopped: every stage runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from codepipeline_server import codepipeline
from environments import asking
from nodes import Cli, TinyArchives, eventually
from nodes import short_folder as make_folder
from release_line import ReleaseLine
from s3 import S3Server
from store_shop import Shop

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
PLAN = """
steps: [{split: 20%, bake: 2s}, {split: 50%, bake: 2s}]
gates: {errors: 10%, min_requests: 3}
patience: 60s
"""
SETTINGS = """
environments:
  staging: {trusted_keys: [release.pub], allow_version_header: true}
  production: {trusted_keys: [release.pub]}
"""
SPEC = "archives/m"


@pytest.fixture(scope="module")
def line(s3: S3Server, archives: TinyArchives) -> Iterator[ReleaseLine]:
    """A checkout, a store, a node of staging and one of production."""
    with make_folder() as folder, codepipeline() as server:
        shop = Shop(s3, s3.new_bucket(), archives, folder)
        checkout = folder / "checkout"
        shutil.copytree(archives.spec("m"), checkout / SPEC)
        (checkout / "release.yaml").write_text(PLAN)
        (checkout / "tslc.yaml").write_text(SETTINGS)
        (checkout / ".gitignore").write_text("release.key\n")
        Cli(folder / "home", checkout).ok("keygen", checkout / "release")
        subprocess.run(("git", "init", "-q", str(checkout)), check=True)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        inherited = {key: os.environ[key] for key in ("PYTHONPATH",) if key in os.environ}
        environment = {**inherited, **shop.env, "PATH": path, "TSLC_HOME": str(folder / "home")}
        nodes = {}
        for env in ("staging", "production"):
            cli = Cli(folder / "home", checkout)
            words = ("up", "--free-ports", "--name", env, "--env", env, "--json")
            nodes[env] = cli.ok(*words, env=shop.env).json
        line = ReleaseLine(
            *(checkout, folder / "out", "m", SPEC, environment, server),
            nodes["staging"]["router"],
        )
        try:
            with line.worker():
                yield line
        finally:
            for env in nodes:
                Cli(folder / "home", checkout)("down", "--name", env, env=shop.env)


def tslc(line: ReleaseLine, *words: str) -> Any:
    cli = Cli(Path(line.environment["TSLC_HOME"]), line.checkout)
    return cli.ok(*words, "--json", env=line.environment).json


def shares(line: ReleaseLine) -> dict[str, int]:
    status = tslc(line, "status", "--env", "production")
    found = status["models"].get("m", {})
    return {version: share for version, share in found.items() if share}


def users(line: ReleaseLine) -> AbstractContextManager[Counter[int]]:
    """Who asks production, ten times a second."""
    (node,) = tslc(line, "status", "--env", "production")["nodes"]
    url = f"{node['router']}/v1/chat/completions"
    body = {"model": "m", "messages": [{"role": "user", "content": "hello-user"}]}
    return asking(lambda: httpx.post(url, json=body, verify=False, timeout=30).status_code)


def change(line: ReleaseLine, key: str, value: str) -> None:
    config = line.checkout / SPEC / "config.yaml"
    text = config.read_text().replace("environment: {}", "environment:\n    A: a")
    config.write_text(text.replace("    A: a", f"    A: a\n    {key}: {value}"))


def test_a_commit_goes_to_all_traffic_and_bad_ones_are_stopped(line: ReleaseLine) -> None:
    first = line.commit("the first version")
    assert in_short(line).carry(first).reason == ""
    assert shares(line) == {first: 100}

    change(line, "V", "two")
    second = line.commit("a better one")
    with users(line) as statuses:
        assert line.carry(second).reason == ""
    assert shares(line) == {second: 100}
    assert set(statuses) == {200}

    golden = line.checkout / SPEC / "golden.jsonl"
    good = golden.read_text()
    golden.write_text(good.replace('"contains": ["hello"]', '"contains": ["good day"]'))
    third = line.commit("one that does not answer as it should")
    stopped = line.carry(third)
    assert stopped.stage == "test"
    assert "failed 1 of 1 golden prompts" in stopped.reason
    assert shares(line) == {second: 100}

    golden.write_text(good)
    change(line, "TINY_FAILS_ON", "hello-user")
    fourth = line.commit("one that fails its users")
    with users(line):
        stopped = in_short(line).carry(fourth)
    assert stopped.stage == "release"
    assert "taken back" in stopped.reason
    assert "answers were errors" in stopped.reason
    assert shares(line) == {second: 100}


def test_a_worker_that_is_killed_is_followed_by_another(line: ReleaseLine) -> None:
    if not shares(line):
        assert in_short(line).carry(line.commit("the first version")).reason == ""
    change(line, "W", "three")
    config = line.checkout / SPEC / "config.yaml"
    config.write_text("\n".join(x for x in config.read_text().splitlines() if "FAILS" not in x))
    version = line.commit("another one")
    found: list[str] = []
    short = in_short(line)
    thread = threading.Thread(target=lambda: found.append(short.carry(version).reason))
    thread.start()
    try:
        with users(line) as statuses:
            assert eventually(lambda: bool(found) or version in shares(line), 120), found
            with line.worker():
                kill_oldest_worker(line)
                thread.join(180)
    finally:
        thread.join(1)
    assert found == [""]
    assert shares(line) == {version: 100}
    assert set(statuses) == {200}


def in_short(line: ReleaseLine) -> ReleaseLine:
    """Only what a release needs: built and pushed."""
    return replace(line, stages=("build", "push"))


def kill_oldest_worker(line: ReleaseLine) -> None:
    workers = [
        one
        for one in psutil.process_iter(["cmdline", "create_time"])
        if {"pipeline", "worker", line.server.url} <= set(one.info["cmdline"] or ())
    ]
    min(workers, key=lambda one: one.info["create_time"]).kill()
