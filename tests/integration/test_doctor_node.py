"""`tslc doctor` on a real node: nothing is wrong with a healthy one, and what dies is found."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest

import nodes
from environments import Served, ServingNode, push, restarted, served
from nodes import TINY, TinyArchives, eventually, kill
from s3 import S3Server
from tslc.domain.node import NodePaths
from tslc.domain.supervised import SupervisorPaths

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def place(s3: S3Server, archives: TinyArchives) -> Iterator[Served]:
    with nodes.short_folder() as folder, served(s3, archives, folder) as place:
        push(place.shop, "1.0.0")
        place("promote", "m", "1.0.0", "--wait")
        yield place


def examined(node: ServingNode, *only: str) -> dict[str, dict[str, Any]]:
    words = [f"--only={name}" for name in only]
    ran = node.shop("doctor", "--name", node.folder.name, "--json", *words)
    assert ran.code in (0, 3), ran.err
    return {one["check"]: one for one in ran.json["checks"]}


def paths(node: ServingNode) -> NodePaths:
    return NodePaths(node.folder)


def kill_supervisord(node: ServingNode) -> None:
    kill(int(SupervisorPaths.of(paths(node)).pid.read_text()))


def mend(node: ServingNode, finding: Mapping[str, Any]) -> None:
    """Do what the doctor says."""
    tslc, *words = shlex.split(finding["fix"].splitlines()[0], comments=True)
    assert (tslc, words[:3]) == ("tslc", ["up", "--name", "n0"])
    node(*words)
    assert eventually(lambda: answers(node), 60)


def answers(node: ServingNode) -> bool:
    try:
        return node.ask().status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.alone  # other tests leave engines behind on purpose
def test_a_healthy_node_has_no_fault(place: Served) -> None:
    found = examined(place.node)
    wrong = {name: one for name, one in found.items() if one["verdict"] in ("fault", "unknown")}
    assert wrong == {}
    fine = {name for name, one in found.items() if one["verdict"] == "ok"}
    programs = {"node", "node-torchserve", "node-router", "node-agent", "node-versions"}
    assert programs | {"ports", "store", "java", "vllm", "torch", "envoy"} <= fine
    assert "m 1.0.0 is ready" in found["node-versions"]["found"]
    assert not [key for key in place.shop.objects() if "doctor" in key]


def test_a_node_that_was_never_there_is_no_fault(place: Served) -> None:
    ran = place.shop("doctor", "--name", "nobody", "--json", "--only=node", "--only=node-agent")
    assert ran.code == 0
    assert {one["verdict"] for one in ran.json["checks"]} == {"not applicable"}


def test_planted_an_agent_that_is_dead_and_nobody_starts_again(place: Served) -> None:
    node = place.node
    kill_supervisord(node)
    node.kill("agent")
    found = examined(node, "node", "node-agent")
    assert found["node-agent"]["verdict"] == "fault"
    assert "supervisord does not run" in found["node"]["found"]
    assert "agent does not run" in found["node"]["found"]
    mend(node, found["node-agent"])
    assert eventually(lambda: _fine(node, "node", "node-agent"), 30)


def test_planted_an_agent_that_hangs(place: Served) -> None:
    node = place.node
    agent = node.program("agent")
    agent.suspend()
    try:
        report = paths(node).agent / "report.json"
        old = report.stat().st_mtime - 300
        os.utime(report, (old, old))
        found = examined(node, "node-agent")["node-agent"]
        assert (found["verdict"], "it hangs" in found["found"]) == ("fault", True), found
        assert found["fix"].startswith(f"kill -9 {agent.pid}")
    finally:
        agent.resume()
    agent.kill()
    assert restarted(node, "agent", agent.pid)
    assert eventually(lambda: _fine(node, "node-agent"), 30)


def test_planted_a_torchserve_that_hangs_and_one_that_is_dead(place: Served) -> None:
    node = place.node
    torchserve = node.program("torchserve")
    torchserve.suspend()
    try:
        found = examined(node, "node-torchserve")["node-torchserve"]
        assert (found["verdict"], "it hangs" in found["found"]) == ("fault", True), found
        assert "tslc up --name n0" in found["fix"]
    finally:
        torchserve.resume()
    kill_supervisord(node)
    kill(torchserve.pid)
    found = examined(node, "node-torchserve", "node", "leftovers")
    assert found["node-torchserve"]["verdict"] == "fault"
    assert "torchserve does not run" in found["node"]["found"]
    mend(node, found["node-torchserve"])
    assert eventually(lambda: _fine(node, "node", "node-torchserve", "node-versions"), 60)


def test_planted_a_router_that_is_dead(place: Served) -> None:
    node = place.node
    kill_supervisord(node)
    node.kill("router")
    found = examined(node, "node-router", "node")
    assert found["node-router"]["verdict"] == "fault"
    mend(node, found["node-router"])
    assert eventually(lambda: _fine(node, "node", "node-router"), 30)


def test_planted_a_version_that_does_not_load(place: Served, archives: TinyArchives) -> None:
    handler = (TINY / "tiny_handler.py").read_text() + "\nraise RuntimeError('no such tensor')\n"
    place.shop.ok("push", archives.build("broken", "1.0.0", handler=handler))
    place("promote", "broken", "1.0.0")

    def failed() -> bool:
        return examined(place.node, "node-versions")["node-versions"]["verdict"] == "fault"

    assert eventually(failed, 90)
    found = examined(place.node, "node-versions")["node-versions"]
    assert "broken 1.0.0 failed" in found["found"]
    assert "tslc rollback broken" in found["fix"]
    assert "m 1.0.0" not in found["found"]
    place("retire", "broken", "1.0.0", "--force")


def _fine(node: ServingNode, *only: str) -> bool:
    verdicts = {one["verdict"] for one in examined(node, *only).values()}
    return verdicts <= {"ok", "warning"}
