"""Releases under constant traffic: whatever is done to versions, no user notices.

50 requests a second, half of them streams, on a real node: TorchServe, Envoy, agent, S3.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import psutil
import pytest

from environments import MODEL, Served, ServingNode, push, restarted, served
from nodes import TinyArchives, eventually
from nodes import short_folder as make_folder
from s3 import S3Server, weed
from traffic import Traffic, flowing

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
# The acceptance run: 10 kills in a row, a minute without the store.
KILLS = int(os.environ.get("TSLC_KILLS", "2"))
AWAY_SECONDS = float(os.environ.get("TSLC_AWAY_SECONDS", "6"))
# What a worker takes beside its own load: to be missed, killed, started, proven.
MOST_BESIDE_LOADING = 10.0


@pytest.fixture(scope="module")
def own_s3() -> Iterator[S3Server]:
    """A store that may be taken away."""
    with weed() as server:
        yield server


@pytest.fixture(scope="module")
def environment(own_s3: S3Server, archives: TinyArchives) -> Iterator[Served]:
    with make_folder() as folder, served(own_s3, archives, folder) as running:
        push(running.shop, "1.0.0", "1.1.0", "1.2.0")
        running("promote", MODEL, "1.0.0", "--wait")
        yield running


@pytest.fixture
def steady(environment: Served) -> Served:
    """With 1.0.0 alone, whatever a test before left."""
    environment("split", MODEL, "1.0.0=100", "--no-sticky", "--no-shadow", "--wait")
    state = environment("status", "--env", "dev")["models"][MODEL]
    for version in set(state) - {"1.0.0"}:
        environment("retire", MODEL, version, "--wait")
    return environment


def traffic_on(node: ServingNode, **more: object) -> Traffic:
    return Traffic(node.url, MODEL, **more)  # type: ignore[arg-type]


def settled(traffic: Traffic, requests: int = 50) -> None:
    """Let so many more requests pass."""
    goal = len(traffic.answers) + requests
    assert eventually(lambda: len(traffic.answers) >= goal, 60)


def test_a_release_from_canary_to_retirement_fails_no_request(steady: Served) -> None:
    with flowing(traffic_on(steady.node)) as traffic:
        settled(traffic)
        steady("split", MODEL, "1.0.0=90", "1.1.0=10", "--sticky", "header:x-user-id", "--wait")
        settled(traffic, 200)
        steady("split", MODEL, "1.0.0=50", "1.1.0=50", "--wait")
        settled(traffic, 200)
        steady("promote", MODEL, "1.1.0", "--wait")
        settled(traffic)
        steady("rollback", MODEL, "--wait")
        settled(traffic)
        steady("promote", MODEL, "1.1.0", "--wait")
        settled(traffic)
        steady("retire", MODEL, "1.0.0", "--wait")
        settled(traffic, 100)
    assert traffic.failures() == []
    assert set(traffic.versions()) == {"1.0.0", "1.1.0"}
    assert set(steady.node.versions()) == {"1.1.0"}


def test_no_user_is_moved_from_the_new_version_to_the_old_when_the_canary_grows(
    steady: Served,
) -> None:
    steady("split", MODEL, "1.0.0=90", "1.1.0=10", "--sticky", "header:x-user-id", "--wait")
    with flowing(traffic_on(steady.node, users=150)) as traffic:
        settled(traffic, 400)
        at_ten = {one.user: one.version for one in traffic.answers}
        assert all(one.version == at_ten[one.user] for one in traffic.answers), "a user flapped"
        steady("split", MODEL, "1.0.0=50", "1.1.0=50", "--wait")
        changed = traffic.answers[-1].began
        settled(traffic, 400)
    assert traffic.failures() == []
    later = [one for one in traffic.answers if one.began > changed + 0.5]
    at_fifty = {one.user: one.version for one in later}
    assert all(one.version == at_fifty[one.user] for one in later), "a user flapped"
    moved_back = [u for u, v in at_fifty.items() if v == "1.0.0" and at_ten.get(u) == "1.1.0"]
    assert moved_back == []
    assert {"1.0.0", "1.1.0"} == set(at_fifty.values())


def test_the_death_and_the_restart_of_the_agent_fail_no_request(steady: Served) -> None:
    node = steady.node
    with flowing(traffic_on(node)) as traffic:
        settled(traffic)
        before = node.program("agent").pid
        node.kill("agent")
        assert restarted(node, "agent", before)
        steady("split", MODEL, "1.0.0=60", "1.1.0=40", "--wait")
        settled(traffic)
        before = node.program("agent").pid
        node.program("agent").terminate()
        assert restarted(node, "agent", before)
        steady("split", MODEL, "1.0.0=40", "1.1.0=60", "--wait")
        settled(traffic)
    assert traffic.failures() == []


def test_while_the_store_is_away_the_node_keeps_serving_and_says_so(
    steady: Served, own_s3: S3Server
) -> None:
    node = steady.node
    steady("split", MODEL, "1.0.0=70", "1.1.0=30", "--wait")
    store = [p for p in psutil.process_iter() if own_s3.folder.name in " ".join(_line(p))]
    assert store
    with flowing(traffic_on(node)) as traffic:
        settled(traffic)
        for process in store:
            process.suspend()
        try:
            assert eventually(lambda: "the store is away" in node.log(), 30)
            # An agent that is killed now knows from its folder what is desired.
            before = node.program("agent").pid
            node.kill("agent")
            assert restarted(node, "agent", before)
            settled(traffic, int(AWAY_SECONDS * traffic.per_second))
        finally:
            for process in store:
                process.resume()
        settled(traffic)
        steady("split", MODEL, "1.0.0=20", "1.1.0=80", "--wait")
        settled(traffic)
    assert traffic.failures() == []


def _line(process: psutil.Process) -> list[str]:
    try:
        return [*process.cmdline(), process.cwd()]
    except psutil.Error:
        return []


def test_a_killed_worker_breaks_no_more_than_the_streams_on_it_and_serves_again(
    steady: Served,
) -> None:
    node = steady.node
    steady("split", MODEL, "1.0.0=50", "1.1.0=50", "--wait")
    with flowing(traffic_on(node)) as traffic:
        settled(traffic)
        for number in range(KILLS):
            version = ("1.0.0", "1.1.0")[number % 2]
            (pid,) = node.workers(version)
            began = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            settled(traffic)
            assert eventually(partial(back, traffic, version, began), 60)
            waited = min(
                one.began for one in traffic.answers
                if one.version == version and one.began > began + 1.0
            ) - began  # fmt: skip
            loading = load_seconds(node, version)
            assert waited < loading + MOST_BESIDE_LOADING, f"{waited:.1f} s, loads in {loading:.1f}"
            late = [one for one in traffic.answers if one.failure and one.began > began]
            assert late == [], "a request that began after the death failed"
            settled(traffic)
    broken = [one for one in traffic.answers if one.failure]
    assert all("broken stream" in one.failure or one.stream for one in broken), broken
    # At 50 requests a second of 40 ms, half of them on the worker: hardly more than one stream.
    assert len(broken) <= 6 * KILLS


def back(traffic: Traffic, version: str, killed: float) -> bool:
    return any(
        one.version == version and not one.failure and one.began > killed + 1.0
        for one in traffic.answers
    )


def load_seconds(node: ServingNode, version: str) -> float:
    """How long its worker took, on the machine as busy as it was, from its process's start to its
    socket."""
    (pid,) = node.workers(version)
    (socket,) = (node.folder / "run").glob(f"{MODEL}@{version}@{pid}.sock")
    return max(0.5, socket.stat().st_ctime - psutil.Process(pid).create_time())


def test_streams_that_have_said_nothing_yet_outlive_their_worker(steady: Served) -> None:
    node = steady.node
    steady("split", MODEL, "1.0.0=50", "1.1.0=50", "--wait")
    (pid,) = node.workers("1.0.0")
    with flowing(traffic_on(node, per_second=20, tokens=2, delay=3.0)) as traffic:
        assert eventually(lambda: waiting(node, "1.0.0") >= 5, 60)
        killed = time.monotonic()
        os.kill(pid, signal.SIGKILL)
    begun = [one for one in traffic.answers if one.began < killed]
    assert len(begun) >= 5
    assert traffic.failures() == []
    assert {one.version for one in begun} == {"1.1.0"}


def waiting(node: ServingNode, version: str) -> int:
    """Requests that its worker is answering."""
    return int(from_door(node, version, "/health").json()["in_flight"])


def from_door(node: ServingNode, version: str, path: str) -> httpx.Response:
    """What its worker says of itself."""
    (door,) = (node.folder / "run").glob(f"{MODEL}@{version}@*.sock")
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(door)), timeout=30) as client:
        return client.get(f"http://door{path}")


def test_a_shadow_gets_copies_whose_answers_nobody_sees(steady: Served) -> None:
    steady("split", MODEL, "1.0.0=100", "--shadow", "1.2.0=50%", "--wait")
    with flowing(traffic_on(steady.node)) as traffic:
        settled(traffic, 200)
    assert traffic.failures() == []
    assert set(traffic.versions()) == {"1.0.0"}
    text = from_door(steady.node, "1.2.0", "/metrics").text
    # One line for each endpoint and status; the node's own look at its doors has lines, too.
    endpoint = 'endpoint="/v1/chat/completions"'
    lines = [
        one
        for one in text.splitlines()
        if one.startswith("tslc_requests_total{") and endpoint in one
    ]
    assert sum(float(line.split()[-1]) for line in lines) > 20


def test_a_version_that_fails_its_golden_prompts_gets_no_traffic_and_the_command_says_why(
    steady: Served,
) -> None:
    bad = {"name": "impossible", "request": {"messages": [{"role": "user", "content": "a"}]},
           "expect": {"contains": ["b"]}}  # fmt: skip
    if "1.9.0" not in {one["version"] for one in steady("list", MODEL)}:
        steady("push", steady.shop.archives.build(MODEL, "1.9.0", golden=[bad]))
    with flowing(traffic_on(steady.node)) as traffic:
        settled(traffic)
        ran = steady.shop("promote", MODEL, "1.9.0", "--wait", "--timeout", "60")
        assert ran.code == 3
        assert "failed 1 of 1 golden prompts" in ran.err
        assert "traffic stays where it was" in ran.err
        settled(traffic)
        steady("rollback", MODEL, "--wait")
    assert traffic.failures() == []
    assert set(traffic.versions()) == {"1.0.0"}


def test_what_the_router_must_not_show_it_does_not_show(steady: Served) -> None:
    node = steady.node
    paths = ("/metrics", "/ready", "/models", "/stats", f"/{MODEL}/metrics")
    tricks = ("/v1/../metrics", "/v1/%2e%2e/metrics", f"/{MODEL}/v1/../../ready")
    for path in (*paths, *tricks, "/predictions/m/1.0.0/v1/models"):
        answer = httpx.get(node.url + path, timeout=30)
        assert answer.status_code in (400, 404), (path, answer.text)
        assert answer.json()["error"]["message"]
    for path in ("/models", "/models?url=x.mar", "/token?type=management"):
        assert httpx.post(node.url + path, timeout=30).status_code in (400, 404)


def test_keys_are_asked_for_once_there_is_one_and_taken_back_without_a_restart(
    steady: Served,
) -> None:
    node = steady.node
    key = steady("keys", "create", "shop")["key"]
    try:
        assert eventually(lambda: node.ask().status_code == 401, 15)
        assert node.ask(key=key).status_code == 200
        assert node.ask(key=key + "x").status_code == 401
        assert httpx.get(f"{node.url}/health", timeout=30).status_code == 200
        second = steady("keys", "create", "slow", "--per-minute", "2")["key"]
        assert eventually(lambda: node.ask(key=second).status_code == 200, 15)
        statuses = [node.ask(key=second).status_code for _ in range(4)]
        assert statuses[-1] == 429
        steady("keys", "revoke", "shop")
        assert eventually(lambda: node.ask(key=key).status_code == 401, 15)
    finally:
        for one in steady("keys", "list"):
            steady("keys", "revoke", one["name"], "--open")
    assert eventually(lambda: node.ask().status_code == 200, 15)
    folder = node.folder
    texts = [
        p.read_bytes() for p in folder.rglob("*") if p.is_file() and "model_store" not in str(p)
    ]
    assert not any(key.encode() in text for text in texts), "a key lies in the node's folder"


def test_the_access_log_tells_who_answered_and_never_what_was_asked(steady: Served) -> None:
    steady("split", MODEL, "1.0.0=100", "--sticky", "header:x-user-id", "--wait")
    secret = "a-very-private-question"
    answer = httpx.post(
        f"{steady.node.url}/v1/chat/completions",
        json={"model": MODEL, "messages": [{"role": "user", "content": secret}]},
        headers={"x-user-id": "anna@example.com", "x-request-id": "r-42"},
        timeout=30,
    )
    assert answer.status_code == 200
    found: list[dict[str, object]] = []

    def logged() -> bool:
        found[:] = [one for one in steady.node.access_log() if one["request_id"] == "r-42"]
        return bool(found)

    assert eventually(logged, 10)
    assert (found[0]["model"], found[0]["version"], found[0]["status"]) == (MODEL, "1.0.0", 200)
    text = (steady.node.folder / "router" / "access.log").read_text()
    assert secret not in text
    assert "anna" not in text


def test_a_dead_agent_twice_is_no_agent_twice(steady: Served, tmp_path: Path) -> None:
    ran = steady.shop("agent", "--name", "n0")
    assert ran.code == 3
    assert "node 'n0' has an agent already" in ran.err


def test_a_torchserve_that_is_killed_comes_back_with_its_versions(steady: Served) -> None:
    """With it all workers are gone: this is the one death that a node alone can't hide."""
    node = steady.node
    before = node.program("torchserve").pid
    node.kill("torchserve")
    assert restarted(node, "torchserve", before)
    assert eventually(lambda: node.ask().status_code == 200, 90)
    assert eventually(lambda: steady("status", "--env", "dev")["as_desired"], 60)
