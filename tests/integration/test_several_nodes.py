"""Several nodes of one environment: nothing but the store connects them."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator

import psutil
import pytest

from environments import MODEL, Served, node_id, push, served
from nodes import TinyArchives, eventually
from nodes import short_folder as make_folder
from s3 import S3Server
from traffic import Traffic, flowing
from tslc.verbs.history import verify_history

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]
# The acceptance run: five nodes, five minutes.
NODES = int(os.environ.get("TSLC_NODES", "2"))
STORM_SECONDS = float(os.environ.get("TSLC_STORM_SECONDS", "25"))
QUIET_SECONDS = 10.0
VERSIONS = ("1.0.0", "1.1.0", "1.2.0")


@pytest.fixture(scope="module")
def environment(s3: S3Server, archives: TinyArchives) -> Iterator[Served]:
    with make_folder() as folder, served(s3, archives, folder, nodes=NODES) as running:
        push(running.shop, *VERSIONS)
        running("promote", MODEL, "1.0.0", "--wait")
        yield running


def test_every_node_comes_to_the_same_split_and_the_same_users(environment: Served) -> None:
    words = ("1.0.0=70", "1.1.0=30", "--sticky", "header:x-user-id")
    done = environment("split", MODEL, *words, "--wait")
    assert sorted(done["reached_by"]) == sorted(node_id(one.node) for one in environment.nodes)
    seen = []
    for node in environment.nodes:
        with flowing(Traffic(node.url, MODEL, users=60)) as traffic:
            assert eventually(lambda t=traffic: len(t.answers) >= 150, 60)  # type: ignore[misc]
        assert traffic.failures() == []
        seen.append({one.user: one.version for one in traffic.answers})
    assert all(one == seen[0] for one in seen)
    assert set(seen[0].values()) == {"1.0.0", "1.1.0"}


def test_a_node_that_stops_says_so_and_is_not_waited_for(environment: Served) -> None:
    last = environment.nodes[-1]
    environment.shop.cli.ok("down", "--name", last.node.root.name, env=environment.shop.env)
    try:
        told = {one["node"]: one for one in environment("status", "--env", "dev")["nodes"]}
        assert told[node_id(last.node)]["stopped"]
        done = environment("split", MODEL, "1.0.0=60", "1.1.0=40", "--wait")
        assert node_id(last.node) not in done["reached_by"]
    finally:
        ports = [f"--{k.replace('_', '-')}-port={v}" for k, v in last.node.ports.items()]
        environment("up", "--name", last.node.root.name, *ports)
    assert eventually(lambda: environment("status", "--env", "dev")["as_desired"], 60)


@pytest.mark.alone
def test_with_recreate_one_node_at_a_time_goes_without_the_model(environment: Served) -> None:
    environment("promote", MODEL, "1.0.0", "--wait")
    serving: list[list[bool]] = []
    stopping = threading.Event()

    def watch() -> None:
        while not stopping.is_set():
            serving.append([one.ask().status_code == 200 for one in environment.nodes])

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        environment("promote", MODEL, "1.2.0", "--strategy", "recreate", "--wait")
    finally:
        stopping.set()
        thread.join(60)
    assert all(any(states) for states in serving), "no node answered"
    without = {index for states in serving for index, good in enumerate(states) if not good}
    assert without == set(range(NODES)), "each went without it, in its turn"
    for node in environment.nodes:
        assert set(node.versions()) == {"1.2.0"}
    environment("split", MODEL, "1.0.0=100", "--strategy", "warm", "--wait")


@pytest.mark.alone
def test_after_a_storm_of_kills_and_changes_all_come_to_the_last_state(
    environment: Served,
) -> None:
    dice = random.Random(20_261_124)
    ended = time.monotonic() + STORM_SECONDS
    codes = []
    while time.monotonic() < ended:
        _strike(environment, dice)
        words = _change(dice)
        codes.append(environment.shop(*words).code)
    assert set(codes) <= {0, 2, 3}, codes
    assert eventually(lambda: _agents_run(environment), 60), "an agent is not restarted"
    environment("split", MODEL, "1.0.0=30", "1.1.0=70", "--strategy", "warm")
    quiet = time.monotonic()
    assert eventually(lambda: environment("status", "--env", "dev")["as_desired"], 90)
    waited = time.monotonic() - quiet
    history = verify_history(environment.shop.store(), "dev")
    assert history.flaws == ()
    assert history.entries == environment("status", "--env", "dev")["generation"]
    print(f"\n{NODES} nodes, {len(codes)} changes, converged {waited:.1f} s after the last")
    for node in environment.nodes:
        assert "Traceback" not in node.log(), node.log()


def _strike(environment: Served, dice: random.Random) -> None:
    node = dice.choice(environment.nodes)
    kind = dice.choice(("agent", "agent", "router", "worker", "nothing"))
    try:
        if kind in ("agent", "router"):
            node.kill(kind)
        elif kind == "worker":
            version = dice.choice(VERSIONS)
            for pid in node.workers(version):
                os.kill(pid, 9)
    except (psutil.Error, ProcessLookupError):
        return


def _change(dice: random.Random) -> tuple[str, ...]:
    one, other = dice.sample(VERSIONS, 2)
    share = dice.randrange(1, 100)
    return dice.choice(
        [
            ("promote", MODEL, one),
            ("rollback", MODEL),
            ("split", MODEL, f"{one}={share}", f"{other}={100 - share}"),
            ("retire", MODEL, one),
            ("retire", MODEL, one, "--force"),
        ]
    )


def _agents_run(environment: Served) -> bool:
    try:
        return all(one.program("agent").is_running() for one in environment.nodes)
    except (psutil.Error, OSError, ValueError):
        return False
