"""The local node: a real TorchServe, archives of the tiny engine, `tslc` as its users run it."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import psutil
import pytest

from nodes import GOOD_PROMPT, Cli, Node, Ran, TinyArchives, eventually, kill, start_node
from tslc.adapters.loopback_ports import pick_free

pytestmark = pytest.mark.integration


def test_the_whole_life_of_two_versions(cli: Cli, archives: TinyArchives) -> None:
    first, second = (archives.build("story", version) for version in ("1.0.0", "1.1.0"))
    node = start_node(cli)
    assert "is running already" in cli.ok("up", "--no-router").out
    assert node.root.stat().st_mode & 0o077 == 0
    assert node.key_file.stat().st_mode & 0o077 == 0

    planned = cli.ok("register", first, "--dry-run").out
    assert "golden prompts" in planned
    assert node.versions("story") == {}
    assert "is ready (the default version)" in cli.ok("register", first).out
    registered = cli.ok("register", second, "--json").json
    assert [one["passed"] for one in registered["golden_prompts"]] == [True]
    assert not registered["default"]
    assert "registered already" in cli.ok("register", "story", "1.1.0", "--dist", "d").out
    served = node.versions("story")
    assert {v: (one["ready"], one["default"]) for v, one in served.items()} == {
        "1.0.0": (True, True),
        "1.1.0": (True, False),
    }

    for door in ((), ("--bridge",)):
        assert (
            cli.ok("chat", "story", "one two", *door, "--max-tokens", "3").out == "one two one \n"
        )
        told = cli.ok(
            "chat", "story@1.1.0", "hi", *door, "--json", "--no-stream", "--max-tokens", "8"
        ).json
        assert (told["version"], told["text"].split()) == ("1.1.0", ["hi"] * 8)

    refused = cli("unregister", "story", "1.0.0")
    assert (refused.code, "hint: tslc default story 1.1.0" in refused.err) == (3, True)
    assert "1.1.0 is the default version of story now" in cli.ok("default", "story", "1.1.0").out
    assert cli.ok("chat", "story", "hi", "--json").json["version"] == "1.1.0"
    cli.ok("unregister", "story", "1.0.0")
    assert set(node.versions("story")) == {"1.1.0"}
    assert not list(node.run_dir.glob("story@1.0.0@*"))

    started = time.monotonic()
    cli.ok("down")
    assert time.monotonic() - started < 15
    assert node.processes() == []
    assert (list(node.run_dir.iterdir()), list((node.root / "tmp").iterdir())) == ([], [])
    assert (node.root / "model_store" / "story-1.1.0.mar").exists()
    assert "was not running" in cli.ok("down").out


def test_what_is_not_there_is_said(node: Node) -> None:
    for words, said in (
        (("register", "nothing", "1.0.0", "--dist", "d"), "there is no archive of nothing 1.0.0"),
        (("register", "nothing.mar"), "nothing.mar"),
        (("unregister", "nothing", "1.0.0"), "no model 'nothing' is registered"),
        (("default", "nothing", "1.0.0"), "no model 'nothing' is registered"),
        (("chat", "nothing", "hi"), "no model 'nothing' is registered"),
    ):
        ran = node.cli(*words)
        assert (ran.code, said in ran.err) == (2, True), ran.err
        assert "hint: " in ran.err


def test_a_node_that_is_not_running_is_said_with_how_to_start_it(cli: Cli) -> None:
    for words in (
        ("status",),
        ("register", "m", "1"),
        ("unregister", "m", "1"),
        ("default", "m", "1"),
        ("chat", "m", "hi"),
    ):
        ran = cli(*words)
        assert ran.code == 5
        assert ran.err == "error: node 'default' is not running\nhint: tslc up\n"
    assert "was not running" in cli.ok("down").out


def test_a_port_in_use_is_named_with_its_holder_and_its_flag(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = cli("up", "--free-ports", "--inference-port", port)
        assert ran.code == 3
        assert f"--inference-port {port}: held by" in ran.err
        assert f"pid {os.getpid()}" in ran.err
        assert "--free-ports" in ran.err
    assert not list((cli.home / "nodes").glob("*/logs"))


@contextmanager
def overtaken(cli: Cli) -> Iterator[int]:
    """Another server has taken the management port of a node that just starts: that port."""
    config = cli.home / "nodes" / "default" / "config.properties"
    assert eventually(config.exists, 30)
    found = re.search(r"^management_address=.*:(\d+)$", config.read_text(), re.MULTILINE)
    assert found
    with socket.create_server(("127.0.0.1", int(found[1]))):
        yield int(found[1])


def up_overtaken(cli: Cli, *options: object) -> tuple[int, Ran]:
    """The port that another took, and how `tslc up` ended."""
    with ThreadPoolExecutor() as pool:
        running = pool.submit(cli, "up", "--free-ports", "--no-router", "--json", *options)
        with overtaken(cli) as port:
            return port, running.result(120)


def test_a_free_port_that_another_takes_first_is_replaced(cli: Cli) -> None:
    port, ran = up_overtaken(cli)
    assert ran.code == 0, ran.err
    assert ran.json["ports"]["management"] != port


def test_a_named_port_that_another_takes_first_is_named_with_its_holder(cli: Cli) -> None:
    port, ran = up_overtaken(cli, "--management-port", pick_free(1)[0])
    assert ran.code == 3, ran.err
    assert f"--management-port {port}: held by" in ran.err
    assert f"pid {os.getpid()}" in ran.err
    assert cli("status").code == 5


def test_a_torchserve_that_cannot_start_leaves_nothing_and_says_why(cli: Cli) -> None:
    ran = cli("up", "--free-ports", "--no-router", "--heap", "1k")
    assert ran.code == 5
    assert "Too small maximum heap" in ran.err
    run_dir = str(cli.home / "nodes" / "default" / "run")
    marked = [p for p in psutil.process_iter() if _marked(p, run_dir)]
    assert marked == []
    assert cli("status").code == 5


def _marked(process: psutil.Process, run_dir: str) -> bool:
    try:
        return process.environ().get("TSLC_RUN_DIR") == run_dir
    except psutil.Error:
        return False


def test_wrong_settings_are_all_named(cli: Cli) -> None:
    ran = cli("up", "--inference-port", "99999", "--heap", "big", "--token-minutes", "-1")
    assert ran.code == 2
    assert "has 3 mistakes" in ran.err
    no_java = cli("up", "--free-ports", env={"JAVA_HOME": "/nowhere"})
    assert (no_java.code, "JAVA_HOME is /nowhere" in no_java.err) == (2, True)


def test_a_dry_run_starts_nothing(cli: Cli) -> None:
    assert "start TorchServe" in cli.ok("up", "--free-ports", "--dry-run").out
    assert not (cli.home / "nodes").exists()
    assert cli("status").code == 5


def test_an_expired_key_is_renewed_and_nobody_notices(cli: Cli, archives: TinyArchives) -> None:
    node = start_node(cli, "--token-minutes", "0.05")
    before = node.inference_key()
    cli.ok("register", archives.build("renewed"))
    assert eventually(lambda: _refused(node, before), 10)
    assert cli.ok("chat", "renewed", "hi", "--bridge", "--max-tokens", "1").out == "hi \n"
    assert cli.ok("status", "--json").json["versions"][0]["ready"]
    assert node.inference_key() != before


def _refused(node: Node, key: str) -> bool:
    head = {"Authorization": f"Bearer {key}"}
    return httpx.get(
        f"{node.inference_url}/predictions/renewed/1.0.0/v1/models", headers=head
    ).is_error


def test_two_nodes_live_side_by_side(cli: Cli, archives: TinyArchives) -> None:
    one, two = (start_node(cli, "--name", name) for name in ("one", "two"))
    archive = archives.build("both")
    for name in ("one", "two"):
        cli.ok("register", archive, "--name", name)
    cli.ok("down", "--name", "one")
    assert one.processes() == []
    assert cli.ok("chat", "both", "hi", "--name", "two", "--max-tokens", "1").out == "hi \n"
    cli.ok("down", "--name", "two")
    assert two.processes() == []


def test_requests_leave_no_line_in_the_logs(node: Node, archives: TinyArchives) -> None:
    node.cli.ok("register", archives.build("quiet"))
    head = {"Authorization": f"Bearer {node.inference_key()}"}
    url = f"{node.inference_url}/predictions/quiet/1.0.0/v1/chat/completions"
    before = _log_bytes(node)
    with httpx.Client(headers=head, timeout=30) as client:
        for _ in range(50):
            assert client.post(url, json=GOOD_PROMPT["request"]).status_code == 200
            assert client.post(url, json={}).status_code == 400
    assert _log_bytes(node) == before
    node.cli.ok("unregister", "quiet", "1.0.0")


def _log_bytes(node: Node) -> int:
    return sum(path.stat().st_size for path in (node.root / "logs").iterdir())


def test_management_and_bridge_want_their_keys_and_archives_from_elsewhere_are_refused(
    node: Node,
) -> None:
    assert httpx.get(f"{node.management_url}/models").is_error
    assert httpx.get(f"{node.inference_url}/predictions/m").is_error
    key = json.loads(node.key_file.read_text())["management"]["key"]
    for url in ("https://example.com/m.mar", "file:///etc/hostname"):
        reply = httpx.post(
            f"{node.management_url}/models",
            params={"url": url},
            headers={"Authorization": f"Bearer {key}"},
        )
        assert reply.is_error
        assert "does not match any allowed URL" in reply.text


def test_a_worker_that_was_killed_is_not_ready_until_it_is_back(
    node: Node, archives: TinyArchives
) -> None:
    node.cli.ok("register", archives.build("mortal"))
    pids = node.versions("mortal")["1.0.0"]["pids"]
    assert isinstance(pids, list)
    kill(pids[0])
    told = node.versions("mortal")["1.0.0"]
    assert (told["ready"], told["reason"]) == (False, "1 worker without a door")
    assert node.cli("default", "mortal", "1.0.0").code == 3
    assert node.cli("chat", "mortal", "hi").code == 5
    assert eventually(lambda: node.versions("mortal")["1.0.0"]["ready"] is True, 20)
    node.cli.ok("unregister", "mortal", "1.0.0")
