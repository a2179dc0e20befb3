"""What is interrupted, killed, or done twice at once leaves nothing behind and breaks nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from nodes import TINY, Cli, Node, TinyArchives, eventually, start_node
from tslc.adapters.node_processes import is_alive
from tslc.adapters.torchserve_process import find_java
from tslc.domain.node import NODE_MARK, PORT_NAMES, Ports, node_paths
from tslc.errors import Refused
from tslc.verbs import up_plan
from tslc.verbs.register import _Registration
from tslc.verbs.register_plan import ArchiveAt, plan_register
from tslc.verbs.running_node import open_node
from tslc.verbs.store_trust import unchecked

pytestmark = pytest.mark.integration
WEIGHTS = {"config.json": b"{}", "model.safetensors": (2).to_bytes(8, "little") + b"{}"}


@contextmanager
def started(
    cli: Cli, *words: object, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """`tslc WORDS` in the background."""
    own = {"TSLC_HOME": str(cli.home), "TSLC_STORE_URL": "s3://none-is-needed", **(env or {})}
    command = [sys.executable, "-m", "tslc", *map(str, words)]
    with subprocess.Popen(
        command, cwd=cli.cwd, env={**os.environ, **own}, stderr=subprocess.PIPE, text=True
    ) as process:
        yield process


def slow(seconds: int) -> str:
    """The source of a handler that takes its time to load."""
    start = "        environment = self.config.environment\n"
    source = (TINY / "tiny_handler.py").read_text()
    source = source.replace(start, f"{start}        await asyncio.sleep({seconds})\n")
    return source.replace("import contextlib\n", "import asyncio\nimport contextlib\n")


def marked(root: Path, name: str = "") -> list[psutil.Process]:
    """The node's processes, or those of that name."""
    found = []
    for process in psutil.process_iter():
        try:
            zombie = process.status() == psutil.STATUS_ZOMBIE
            own = process.environ().get(NODE_MARK) == str(root)
            if own and not zombie and name in process.name():
                found.append(process)
        except psutil.Error:
            continue
    return found


def port_flags() -> list[str]:
    """Flags with free ports, for a node that shall have the same ones again."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in PORT_NAMES]
        ports = Ports(
            **{name: probe.getsockname()[1] for name, probe in zip(PORT_NAMES, probes, strict=True)}
        )
    flags = (str(word) for pair in ports.named().items() for word in pair)
    return ["--no-router", *flags]


def slow_java(cli: Cli, seconds: int) -> dict[str, str]:
    """The variable of a Java that takes its time, so that `up` is not done before a signal comes,
    however busy the machine is."""
    java = cli.home / "java" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f'#!/bin/sh\nsleep {seconds}\nexec {find_java({}).home}/bin/java "$@"\n')
    java.chmod(0o755)
    return {"JAVA_HOME": str(java.parents[1])}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_up_leaves_no_process(cli: Cli, number: signal.Signals) -> None:
    root = cli.home / "nodes" / "default"
    with started(cli, "up", "--free-ports", "--no-router", env=slow_java(cli, 20)) as up:
        assert eventually(lambda: bool(marked(root, "java")), 30)
        up.send_signal(number)
        up.communicate(timeout=30)
    assert up.returncode == 130
    assert marked(root) == []


def test_after_a_killed_up_the_next_one_starts_on_the_same_ports(cli: Cli) -> None:
    root, ports = cli.home / "nodes" / "default", port_flags()
    with started(cli, "up", *ports, env=slow_java(cli, 3)) as up:
        assert eventually(lambda: bool(marked(root, "java")), 30)
        up.kill()
    (left,) = marked(root, "java")
    assert eventually(lambda: left.net_connections("tcp") != [], 30)
    assert str(left.pid) in cli.ok("up", *ports, "--dry-run").out
    assert cli.ok("up", *ports, "--json").json["pid"] != left.pid
    assert not is_alive(left.pid)


def test_a_port_that_nobody_holds_any_more_is_waited_for(
    short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel still closes what a killed process had open."""
    monkeypatch.setattr(up_plan, "holder_pid", lambda port: None)
    wish = up_plan.Wish("n", free_ports=True)
    with socket.create_server(("127.0.0.1", 0)) as closing:
        wish = replace(wish, ports={"inference": closing.getsockname()[1]})
        threading.Timer(0.5, closing.close).start()
        up_plan.check(node_paths(short_folder, "n"), wish, os.environ)
    with socket.create_server(("127.0.0.1", 0)) as kept:
        wish = replace(wish, ports={"inference": kept.getsockname()[1]})
        with pytest.raises(Refused, match="not all free"):
            up_plan.check(node_paths(short_folder, "n"), wish, os.environ)


def test_a_terminated_register_takes_its_version_off_again(
    node: Node, archives: TinyArchives
) -> None:
    archive = archives.build("terminated", handler=slow(60), weights=WEIGHTS)
    with started(node.cli, "register", archive) as register:
        assert eventually(lambda: "1.0.0" in node.versions("terminated"), 30)
        (link,) = (node.root / "weights").glob("*")
        register.terminate()
        register.communicate(timeout=30)
    assert register.returncode == 130
    assert node.versions("terminated") == {}
    assert not (node.root / "model_store" / archive.name).exists()
    assert not os.path.lexists(link)


def test_of_two_registers_at_once_one_is_refused_and_the_other_one_succeeds(
    node: Node, archives: TinyArchives
) -> None:
    archive = archives.build("twice", handler=slow(5))
    with (
        started(node.cli, "register", archive) as one,
        started(node.cli, "register", archive) as two,
    ):
        said = [process.communicate(timeout=60)[1] for process in (one, two)]
    assert sorted(process.returncode for process in (one, two)) == [0, 3]
    assert "another command works on node 'default': registering" in "".join(said)
    assert node.versions("twice")["1.0.0"]["ready"]
    assert (node.root / "model_store" / archive.name).exists()
    node.cli.ok("unregister", "twice", "1.0.0")


def test_a_refused_registration_leaves_the_live_version_alone(
    node: Node, archives: TinyArchives
) -> None:
    """What `tslc register` comes to when somebody else registered the version just before."""
    archive = archives.build("live")
    node.cli.ok("register", archive)
    opened = open_node(node.cli.home, "default")
    request, told = ArchiveAt(archive), (unchecked, os.environ, lambda _: None)
    plan = plan_register(opened.paths, opened.settings, request, *told)
    with pytest.raises(Refused):
        _Registration(opened, plan, lambda _: None).carry_out()
    assert node.versions("live")["1.0.0"]["ready"]
    assert (node.root / "model_store" / archive.name).exists()
    node.cli.ok("unregister", "live", "1.0.0")


def test_a_version_that_still_loads_is_not_to_be_unregistered(
    node: Node, archives: TinyArchives
) -> None:
    archive = archives.build("loading", handler=slow(15))
    with started(node.cli, "register", archive) as register:
        assert eventually(lambda: bool(node.versions("loading")), 30)
        assert node.cli("unregister", "loading", "1.0.0").code == 3
        assert eventually(lambda: any(_pids(node, "loading")), 10)
        register.kill()
    ran = node.cli("register", archive)
    assert (ran.code, "still loading" in ran.err, "unregister" in ran.err) == (5, True, False)
    node.cli.ok("unregister", "loading", "1.0.0")


def _pids(node: Node, model: str) -> list[int]:
    versions = open_node(node.cli.home, "default").api.versions(model)
    return [pid for one in versions for pid in one.pids]


def test_a_torchserve_that_dies_while_a_version_loads_hides_no_error_and_leaves_no_archive(
    cli: Cli, archives: TinyArchives
) -> None:
    node = start_node(cli)
    archive = archives.build("orphan", handler=slow(60), weights=WEIGHTS)
    with started(cli, "register", archive) as register:
        assert eventually(lambda: "1.0.0" in node.versions("orphan"), 30)
        os.kill(node.pid, signal.SIGKILL)
        _, said = register.communicate(timeout=60)
    assert (register.returncode, "Traceback" in said) == (5, False)
    assert not (node.root / "model_store" / archive.name).exists()
    assert list((node.root / "weights").iterdir()) == []


@pytest.mark.parametrize("home", ["/proc/x", "/etc/hostname/x"])
@pytest.mark.parametrize("verb", ["up", "down", "status"])
def test_a_home_that_cannot_be_used_is_said(cli: Cli, home: str, verb: str) -> None:
    ran = cli(verb, env={"TSLC_HOME": home})
    assert "Traceback" not in ran.err
    if verb == "up" or (verb, home) == ("status", "/etc/hostname/x"):
        assert ran.code == 2
        assert f"can't use {home}/nodes/default: " in ran.err
        assert "hint: export TSLC_HOME=" in ran.err
