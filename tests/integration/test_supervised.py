"""A node keeps running what it runs: kill -9 of each of its processes, and what is seen then."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from nodes import Cli, TinyArchives, eventually, kill, start_node
from tslc.adapters import seaweedfs
from tslc.adapters.node_processes import has_mark, is_alive, marked_processes, node_processes
from tslc.adapters.program_runs import last_run
from tslc.adapters.s3_probe import probe_of
from tslc.adapters.supervisor_rpc import SupervisorRpc
from tslc.domain.local_store import MARK, StorePaths
from tslc.domain.node import NODE_MARK, NodePaths
from tslc.domain.node_files import server_environment
from tslc.domain.supervised import PROGRAM_MARK, SUPERVISOR_MARK, SupervisorPaths

pytestmark = pytest.mark.integration
LOCAL = {"TSLC_STORE_URL": "local"}
BACK_SECONDS = 30.0


def paths_of(cli: Cli) -> NodePaths:
    return NodePaths(cli.home / "nodes" / "default")


def programs(cli: Cli) -> dict[str, Mapping[str, Any]]:
    """What `tslc status` says of the node's programs; nothing while TorchServe is away."""
    ran = cli("status", "--json")
    return {one["name"]: one for one in ran.json["programs"]} if ran.code == 0 else {}


def is_back(cli: Cli, name: str, before: int) -> bool:
    run = last_run(paths_of(cli), name)
    if run is None or run.pid == before or not is_alive(run.pid):
        # `tslc status`, asked again and again, takes the time that the start needs.
        return False
    told = programs(cli).get(name)
    return told is not None and told["running"] and told["pid"] != before


def supervisord_of(cli: Cli) -> int:
    return int(SupervisorPaths.of(paths_of(cli)).pid.read_text())


def all_of(cli: Cli) -> set[int]:
    """Every process of the node: its programs, what they started, and what keeps them running."""
    node = paths_of(cli)
    own = ((mark, node.root) for mark in (SUPERVISOR_MARK, PROGRAM_MARK))
    marks = (*own, (MARK, StorePaths(node.store).root))
    found = {one.pid for mark, value in marks for one in marked_processes(mark, value)}
    return found | {one.pid for one in node_processes(node)}


def up(cli: Cli, *options: object) -> Mapping[str, Any]:
    words = ("up", "--free-ports", "--no-router", "--json", *options)
    told: Mapping[str, Any] = cli.ok(*words, env=LOCAL).json
    return told


def test_a_killed_torchserve_is_started_again_and_nothing_of_the_one_before_is_left(
    cli: Cli, archives: TinyArchives
) -> None:
    node = start_node(cli)
    archive = archives.build("orphaned", environment={"TINY_SUBPROCESS": "1"})
    cli.ok("register", archive)
    before = {one.pid for one in node.processes()}
    assert len(before) > 3
    kill(node.pid)
    assert eventually(lambda: is_back(cli, "torchserve", node.pid), BACK_SECONDS)
    told = cli.ok("up", "--no-router", "--json").json
    assert told["already_running"]
    assert told["pid"] != node.pid
    assert not any(is_alive(pid) for pid in before)
    assert programs(cli)["torchserve"]["restarts"] == 1
    assert node.versions("orphaned") == {}
    cli.ok("register", archive)
    assert cli.ok("chat", "orphaned", "hi", "--max-tokens", "1").out == "hi \n"


def test_a_torchserve_that_is_being_started_again_is_said(cli: Cli) -> None:
    node = start_node(cli)
    supervisord = psutil.Process(supervisord_of(cli))
    supervisord.suspend()  # it would be back before this test has looked
    kill(node.pid)
    ran = cli("status")
    supervisord.resume()
    assert (ran.code, "is being started again" in ran.err) == (5, True)
    assert cli.ok("up", "--no-router", "--json").json["pid"] != node.pid


def test_a_killed_store_is_started_again_where_it_was_with_what_it_held(cli: Cli) -> None:
    up(cli)
    node = paths_of(cli)
    store, run = seaweedfs.endpoint(node), seaweedfs.server(node)
    assert run is not None
    for process in seaweedfs.processes(node):
        kill(process.pid)
    assert seaweedfs.endpoint(node) == store
    assert eventually(probe_of(store), BACK_SECONDS)
    assert is_back(cli, "store", run.pid)
    assert up(cli)["store"]["endpoint_url"] == store.endpoint_url


def test_what_a_killed_supervisord_left_is_taken_over_and_never_started_twice(
    cli: Cli, archives: TinyArchives
) -> None:
    first = up(cli)
    cli.ok("register", archives.build("kept"))
    before = {name: one["pid"] for name, one in programs(cli).items()}
    assert set(before) == {"store", "torchserve"}
    kill(supervisord_of(cli))
    told = cli.ok("status", "--json").json
    assert (told["supervised"], told["versions"][0]["ready"]) == (False, True)
    assert "takes over" in cli.ok("up", "--dry-run", env=LOCAL).out

    again = up(cli)
    assert (again["already_running"], again["pid"]) == (True, first["pid"])
    assert again["store"]["already_running"]
    assert {name: one["pid"] for name, one in programs(cli).items()} == before
    assert cli.ok("chat", "kept", "hi", "--max-tokens", "1").out == "hi \n"

    # One that was taken over is started again like any other.
    kill(before["torchserve"])
    assert eventually(lambda: is_back(cli, "torchserve", before["torchserve"]), BACK_SECONDS)
    assert programs(cli)["store"]["pid"] == before["store"]
    cli.ok("down")
    assert all_of(cli) == set()


def test_who_watches_over_what_was_taken_over_may_be_killed_too(cli: Cli) -> None:
    node = start_node(cli)
    kill(supervisord_of(cli))
    cli.ok("up", "--no-router")
    keeper = psutil.Process(supervisord_of(cli))
    assert eventually(lambda: bool(keeper.children()))
    (watcher,) = keeper.children()
    watcher.kill()
    assert eventually(lambda: [one for one in keeper.children() if one != watcher] != [])
    assert programs(cli)["torchserve"]["pid"] == node.pid
    assert cli.ok("down").out.startswith("node 'default' is down")
    assert all_of(cli) == set()


def test_down_ends_what_a_killed_supervisord_left(cli: Cli, archives: TinyArchives) -> None:
    up(cli)
    cli.ok("register", archives.build("left", environment={"TINY_SUBPROCESS": "1"}))
    assert len(all_of(cli)) > 5
    kill(supervisord_of(cli))
    assert "its store is stopped" in cli.ok("down").out
    assert all_of(cli) == set()
    assert "was not running" in cli.ok("down").out


def test_all_killed_at_once_is_a_node_that_does_not_run(cli: Cli) -> None:
    up(cli)
    for pid in (supervisord_of(cli), *all_of(cli)):
        if psutil.pid_exists(pid):
            kill(pid)
    assert eventually(lambda: all_of(cli) == set())
    assert cli("status").err == "error: node 'default' is not running\nhint: tslc up\n"
    assert up(cli)["already_running"] is False
    assert {one["restarts"] for one in programs(cli).values()} == {0}


def test_a_store_that_was_left_out_is_added_to_the_running_node(cli: Cli) -> None:
    first = up(cli, "--no-store")
    assert set(programs(cli)) == {"torchserve"}
    told = up(cli)
    assert (told["pid"], told["store"]["already_running"]) == (first["pid"], False)
    assert probe_of(seaweedfs.endpoint(paths_of(cli)))()
    assert up(cli, "--no-store")["already_running"]
    assert set(programs(cli)) == {"torchserve", "store"}


def test_a_program_has_the_environment_it_is_meant_to_have_and_no_secret_is_on_disk(
    cli: Cli,
) -> None:
    secret, odd = "hf_a-secret-of-this-test", "a \"b\" 'c' 100% $HOME\nnext; # line"
    wanted = {**LOCAL, "HF_TOKEN": secret, "ODD": odd, "PYTHONPATH": "", "TS_X": "1"}
    told = cli.ok("up", "--free-ports", "--no-router", "--json", env=wanted).json
    node = paths_of(cli)
    own = {"TSLC_HOME": str(cli.home)}
    java = psutil.Process(told["pid"])
    home = Path(java.exe()).parents[1]
    assert java.environ() == server_environment({**os.environ, **own, **wanted}, node, home)
    store = seaweedfs.server(node)
    assert store is not None
    assert set(psutil.Process(store.pid).environ()) == {"PATH", "HOME", "GOMEMLIMIT", MARK}

    control = SupervisorPaths.of(node)
    assert stat.S_IMODE(control.root.stat().st_mode) == 0o700
    assert stat.S_IMODE(control.socket.stat().st_mode) == 0o700
    for path in control.root.iterdir():
        assert stat.S_ISSOCK(path.stat().st_mode) or secret not in path.read_text()
    keeper = psutil.Process(supervisord_of(cli))
    assert keeper.net_connections("inet") == []
    assert not any(secret in word for pid in all_of(cli) for word in psutil.Process(pid).cmdline())
    # What ends the processes of a TorchServe must not end what keeps it running.
    assert not has_mark(keeper, NODE_MARK, node.root)


def test_a_node_that_did_not_come_up_is_ended_by_the_next_up(cli: Cli) -> None:
    """A node that is not up is started anew, with what is wished for now."""
    up(cli)
    state = paths_of(cli).state
    text = state.read_text()
    state.write_text(text.replace(f'"pid": {programs(cli)["torchserve"]["pid"]}', '"pid": null'))
    before = all_of(cli)
    assert cli("status").code == 5
    assert up(cli, "--heap", "300m")["already_running"] is False
    assert all_of(cli).isdisjoint(before)


def test_one_that_cannot_start_is_tried_again_with_pauses_and_at_once_by_up(cli: Cli) -> None:
    node = start_node(cli)
    program = SupervisorPaths.of(paths_of(cli)).program("torchserve")
    right = program.read_text()
    program.write_text(json.dumps({**json.loads(right), "command": ["false"]}))
    kill(node.pid)
    control = SupervisorRpc(SupervisorPaths.of(paths_of(cli)).socket)
    seen: list[float] = []

    def paused_thrice() -> bool:
        run = last_run(paths_of(cli), "torchserve")
        if run is not None and run.created not in seen:
            seen.append(run.created)
        return len(seen) > 3 and control.states()["torchserve"] == "BACKOFF"

    assert eventually(paused_thrice, 60)
    pauses = [later - sooner for sooner, later in pairwise(seen[1:])]
    assert pauses == sorted(pauses)
    # A second longer each time.
    assert pauses[-1] > pauses[0] + 0.5
    program.write_text(right)
    assert cli.ok("up", "--no-router", "--json").json["already_running"]
    assert programs(cli)["torchserve"]["restarts"] >= 3


def test_programs_that_are_added_have_the_environment_of_the_up_that_adds_them(cli: Cli) -> None:
    node = start_node(cli)
    secret = "a-key-that-only-the-second-has"
    again = cli.ok("up", "--json", env={"AWS_SECRET_ACCESS_KEY": secret}).json
    assert (again["already_running"], again["pid"]) == (True, node.pid)
    told = programs(cli)
    assert set(told) == {"torchserve", "router", "agent"}
    environment = psutil.Process(told["agent"]["pid"]).environ()
    assert environment["AWS_SECRET_ACCESS_KEY"] == secret
    assert not {NODE_MARK, SUPERVISOR_MARK} & environment.keys()
    folder = SupervisorPaths.of(paths_of(cli)).root
    assert not any(secret in path.read_text() for path in folder.glob("*.json"))
    for name in ("router", "agent"):
        kill(told[name]["pid"])
        assert eventually(lambda n=name: is_back(cli, n, told[n]["pid"]), BACK_SECONDS)
    assert programs(cli)["torchserve"]["pid"] == node.pid
    assert cli.ok("up", "--json").json["already_running"]
    kill(supervisord_of(cli))
    cli.ok("down")
    assert all_of(cli) == set()
