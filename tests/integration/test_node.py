"""The local node: a real TorchServe, archives of the tiny engine, `tslc` as its users run it."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

from nodes import GOOD_PROMPT, Cli, Node, TinyArchives, start_node

pytestmark = pytest.mark.integration


def eventually(true: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.05)
    return true()


def versions(node: Node, model: str) -> dict[str, dict[str, object]]:
    listed = node.cli.ok("status", "--json").json["versions"]
    return {one["version"]: one for one in listed if one["model"] == model}


def test_the_whole_life_of_two_versions(cli: Cli, archives: TinyArchives) -> None:
    first, second = (archives.build("story", version) for version in ("1.0.0", "1.1.0"))
    node = start_node(cli)
    assert "is running already" in cli.ok("up").out
    assert node.root.stat().st_mode & 0o077 == 0
    assert node.key_file.stat().st_mode & 0o077 == 0

    planned = cli.ok("register", first, "--dry-run").out
    assert "golden prompts" in planned
    assert versions(node, "story") == {}
    assert "is ready (the default version)" in cli.ok("register", first).out
    registered = cli.ok("register", second, "--json").json
    assert [one["passed"] for one in registered["golden_prompts"]] == [True]
    assert not registered["default"]
    assert "registered already" in cli.ok("register", "story", "1.1.0").out
    served = versions(node, "story")
    assert {v: (one["ready"], one["default"]) for v, one in served.items()} == {
        "1.0.0": (True, True),
        "1.1.0": (True, False),
    }

    for door in ((), ("--bridge",)):
        assert (
            cli.ok("chat", "story", "one two", *door, "--max-tokens", "3").out == "one two one \n"
        )
        told = cli.ok("chat", "story@1.1.0", "hi", *door, "--json", "--no-stream").json
        assert (told["version"], told["text"].split()) == ("1.1.0", ["hi"] * 8)

    refused = cli("unregister", "story", "1.0.0")
    assert (refused.code, "hint: tslc default story 1.1.0" in refused.err) == (3, True)
    assert "1.1.0 is the default version of story now" in cli.ok("default", "story", "1.1.0").out
    assert cli.ok("chat", "story", "hi", "--json").json["version"] == "1.1.0"
    cli.ok("unregister", "story", "1.0.0")
    assert set(versions(node, "story")) == {"1.1.0"}
    assert not list(node.run_dir.glob("story@1.0.0@*"))

    started = time.monotonic()
    cli.ok("down")
    assert time.monotonic() - started < 15
    assert node.processes() == []
    assert (list(node.run_dir.iterdir()), list((node.root / "tmp").iterdir())) == ([], [])
    assert (node.root / "model_store" / "story-1.1.0.mar").exists()
    assert "was not running" in cli.ok("down").out


def test_a_load_that_raises_shows_the_workers_error_and_leaves_nothing(
    node: Node, archives: TinyArchives
) -> None:
    before = {process.pid for process in node.processes()}
    archive = archives.build("broken", environment={"TINY_FAIL_LOAD": "the tiny weights are torn"})
    ran = node.cli("register", archive)
    assert ran.code == 5
    assert "broken 1.0.0 did not load: RuntimeError: the tiny weights are torn" in ran.err
    assert "tiny_handler.py:" in ran.err
    assert "Worker died" not in ran.err
    assert versions(node, "broken") == {}
    assert {process.pid for process in node.processes()} == before
    assert not (node.root / "model_store" / archive.name).exists()


def test_a_handler_that_cannot_be_imported_names_the_import(
    node: Node, archives: TinyArchives
) -> None:
    source = "import no_such_package\n" + Path(
        Path(__file__).parents[1] / "tiny_engine" / "tiny_handler.py"
    ).read_text().replace("from __future__ import annotations\n", "")
    ran = node.cli("register", archives.build("unimportable", handler=source))
    assert ran.code == 5
    assert "ModuleNotFoundError: No module named 'no_such_package'" in ran.err
    assert versions(node, "unimportable") == {}


def test_a_worker_that_ends_without_a_word_is_not_waited_for(
    node: Node, archives: TinyArchives
) -> None:
    source = (Path(__file__).parents[1] / "tiny_engine" / "tiny_handler.py").read_text()
    source = source.replace(
        "        environment = self.config.environment\n",
        "        environment = self.config.environment\n        os.kill(os.getpid(), 9)\n",
    )
    started = time.monotonic()
    ran = node.cli("register", archives.build("silent", handler=source))
    assert (ran.code, time.monotonic() - started < 30) == (5, True)
    assert "silent 1.0.0 did not load" in ran.err
    assert versions(node, "silent") == {}


def test_a_failed_golden_prompt_unregisters_and_shows_what_came(
    node: Node, archives: TinyArchives
) -> None:
    wrong = {**GOOD_PROMPT, "name": "capital", "expect": {"contains": ["Paris"]}}
    ran = node.cli("register", archives.build("wrong", golden=[GOOD_PROMPT, wrong]))
    assert ran.code == 3
    assert "wrong 1.0.0 failed 1 of 2 golden prompts" in ran.err
    assert "Paris" in ran.err
    assert "hello hello hello" in ran.err
    assert versions(node, "wrong") == {}
    assert not list(node.run_dir.glob("wrong@*"))


def test_a_version_never_changes_its_content(node: Node, archives: TinyArchives) -> None:
    node.cli.ok("register", archives.build("fixed"))
    ran = node.cli("register", archives.build("fixed", handler_config={"log_level": "error"}))
    assert ran.code == 3
    assert "registered already, with other content" in ran.err
    node.cli.ok("unregister", "fixed", "1.0.0")


def test_an_archive_changed_after_its_build_is_refused(node: Node, archives: TinyArchives) -> None:
    archive = archives.build("changed")
    content = bytearray(archive.read_bytes())
    place = content.index(b"class TinyHandler")
    content[place] ^= 1
    archive.write_bytes(content)
    ran = node.cli("register", archive)
    assert ran.code == 2
    assert "tiny_handler.py" in ran.err


def test_what_is_not_there_is_said(node: Node) -> None:
    for words, said in (
        (("register", "nothing", "1.0.0"), "there is no archive of nothing 1.0.0"),
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


def test_a_torchserve_that_cannot_start_leaves_nothing_and_says_why(cli: Cli) -> None:
    ran = cli("up", "--free-ports", "--heap", "1k")
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


def test_a_killed_torchserve_is_noticed_and_the_next_up_cleans_up_after_it(
    cli: Cli, archives: TinyArchives
) -> None:
    node = start_node(cli)
    cli.ok("register", archives.build("orphaned", environment={"TINY_SUBPROCESS": "1"}))
    children = node.processes()
    assert len(children) > 3
    os.kill(node.pid, signal.SIGKILL)
    assert cli("status").code == 5
    again = start_node(cli)
    assert {one.pid for one in again.processes()}.isdisjoint({one.pid for one in children})
    assert versions(again, "orphaned") == {}


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
    with httpx.Client(headers=head) as client:
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


def test_an_interrupted_register_takes_its_version_off_again(
    node: Node, archives: TinyArchives
) -> None:
    source = (Path(__file__).parents[1] / "tiny_engine" / "tiny_handler.py").read_text()
    source = source.replace(
        "        environment = self.config.environment\n",
        "        environment = self.config.environment\n        await asyncio.sleep(60)\n",
    ).replace("import contextlib\n", "import asyncio\nimport contextlib\n")
    archive = archives.build("slow", handler=source)
    import subprocess
    import sys

    running = subprocess.Popen(
        [sys.executable, "-m", "tslc", "register", str(archive)],
        env={**os.environ, "TSLC_HOME": str(node.cli.home)},
        stderr=subprocess.PIPE,
    )
    assert eventually(lambda: "1.0.0" in versions(node, "slow"), 30)
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=30)
    assert running.returncode == 130
    assert versions(node, "slow") == {}
