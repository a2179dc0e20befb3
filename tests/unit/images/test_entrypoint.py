"""What a container runs for the arguments it is given, and how it stays and ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tslc.adapters.clock import wait_until
from tslc.cli.main import cli
from tslc.domain.node import NodePaths, node_paths
from tslc.domain.supervised import SupervisorPaths

ROOT = Path(__file__).parents[3]
# As pytorch/serve has it in docs/llm_deployment.md, after the image's name.
DOCUMENTED = "--model_id meta-llama/Meta-Llama-3-8B-Instruct --disable_token_auth"
OPEN = ["--host", "0.0.0.0", "--port", "8080"]


@pytest.mark.parametrize(
    ("given", "run"),
    [
        (DOCUMENTED, ["run", *DOCUMENTED.split(), *OPEN]),
        ("run M --disable-token-auth", ["run", "M", "--disable-token-auth", *OPEN]),
        ("run M --host 10.0.0.7", ["run", "M", "--host", "10.0.0.7", "--port", "8080"]),
        ("run M --host=::1 --port=9", ["run", "M", "--host=::1", "--port=9"]),
        ("run M --dry-run", ["run", "M", "--dry-run"]),
        ("up --name a", ["up", "--name", "a", "--router-host", "0.0.0.0"]),
        ("up --router-host=10.0.0.7", ["up", "--router-host=10.0.0.7"]),
        ("up --help", ["up", "--help"]),
        ("agent --name a", ["agent", "--name", "a"]),
        ("build a --version 1.0.0", ["build", "a", "--version", "1.0.0"]),
        ("--version", ["--version"]),
        ("", ["--help"]),
    ],
)
def test_arguments_become_a_command_of_tslc(entrypoint, given: str, run: list[str]) -> None:
    assert entrypoint.command(given.split()) == run


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("--model_id M", "--disable_token_auth"),
        ("run M", "--disable_token_auth"),
        ("run M --disable_token_auth --server torchserve", "127.0.0.1"),
        ("run M --disable_token_auth --server=torchserve", "127.0.0.1"),
    ],
)
def test_a_quick_run_that_is_open_unsaid_or_unreachable_is_refused(
    entrypoint, given: str, reason: str
) -> None:
    with pytest.raises(entrypoint.BadArguments, match=reason):
        entrypoint.command(given.split())


def test_the_flags_it_adds_and_looks_for_are_those_of_the_commands(entrypoint) -> None:
    of = {
        name: {flag for one in command.params for flag in one.opts}
        for name in ("run", "up", "down")
        if (command := cli.get_command(None, name))
    }
    assert {*entrypoint.OPEN_RUN, "--port", "--server"} <= of["run"]
    assert {"--router-host", "--json"} <= of["up"]
    assert "--name" in of["down"]
    # Of a node's own paths it uses these two.
    paths = NodePaths(Path("/n"))
    assert str(SupervisorPaths.of(paths).pid) == "/n/supervisor/supervisord.pid"
    known = {paths.agent_log, paths.router_log, paths.server_log, paths.worker_log}
    assert {paths.logs / log for log in entrypoint.LOGS} == known


@pytest.mark.parametrize(
    ("given", "note"),
    [
        (DOCUMENTED, {"host": "0.0.0.0", "port": "8080"}),
        ("run M --host ::1 --port 9", {"host": "::1", "port": "9"}),
        ("up --name=b", {"node": "b"}),
        ("up", {"node": "default"}),
        ("up --dry-run", {}),
        ("list", {}),
    ],
)
def test_the_health_check_is_told_what_to_look_at(entrypoint, given: str, note: object) -> None:
    assert entrypoint.note_of(entrypoint.command(given.split())) == note


# A tslc whose `up` leaves a process behind as supervisord, and writes down what it was asked.
TSLC = """#!{python}
import json, pathlib, subprocess, sys
home = pathlib.Path({home!r})
with (home / "asked").open("a") as file:
    print(*sys.argv[1:], file=file)
if sys.argv[1] == "up":
    if "--heap" in sys.argv:
        sys.exit("error: no")
    root = home / "nodes" / "default"
    for folder in ("supervisor", "logs"):
        (root / folder).mkdir(parents=True)
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    left = subprocess.Popen(["sleep", "60"], start_new_session=True, **quiet)
    (root / "supervisor" / "supervisord.pid").write_text(str(left.pid))
    (root / "logs" / "agent.log").write_text("before\\n")
    print(json.dumps({{"folder": str(root)}}))
"""


class Container:
    def __init__(self, home: Path, *arguments: str) -> None:
        self.home = home
        tslc = home / "bin" / "tslc"
        tslc.parent.mkdir()
        tslc.write_text(TSLC.format(python=sys.executable, home=str(home)))
        tslc.chmod(0o755)
        self.process = subprocess.Popen(
            [sys.executable, ROOT / "docker" / "entrypoint.py", *arguments],
            env={
                **os.environ,
                "PATH": f"{tslc.parent}:{os.environ['PATH']}",
                "TMPDIR": str(home),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def asked(self) -> list[str]:
        asked = self.home / "asked"
        return asked.read_text().splitlines() if asked.exists() else []

    @property
    def supervisord(self) -> int:
        paths = SupervisorPaths.of(node_paths(self.home, "default"))
        assert wait_until(lambda: paths.pid.exists() and paths.pid.read_text(), 20)
        return int(paths.pid.read_text())

    def follows(self) -> bool:
        """Whether a line written now is shown."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return any(
            Path(f"/proc/{child}/comm").read_text() == "tail\n"
            for child in children.read_text().split()
        )


def test_a_node_stays_shows_its_logs_and_is_taken_down_when_told_to_stop(tmp_path: Path) -> None:
    container = Container(tmp_path, "up")
    supervisord = container.supervisord
    try:
        assert wait_until(container.follows, 20)
        assert json.loads((tmp_path / "tslc-container.json").read_text()) == {"node": "default"}
        assert container.process.poll() is None
        # Once it reads the log, which begins at its end; again, since that moment can't be seen.
        log = tmp_path / "nodes" / "default" / "logs" / "agent.log"
        lines: list[str] = []
        assert container.process.stdout
        os.set_blocking(container.process.stdout.fileno(), False)

        def is_shown() -> bool:
            with log.open("a") as file:
                print("loads", file=file)
            lines.append(container.process.stdout.read() or "")
            return "loads" in "".join(lines)

        assert wait_until(is_shown, 20)
        assert "before" not in "".join(lines)
        container.process.send_signal(signal.SIGTERM)
        assert container.process.wait(20) == 0
    finally:
        os.kill(supervisord, signal.SIGKILL)
    assert container.asked == ["up --router-host 0.0.0.0 --json", "down --name default"]


def test_a_node_whose_supervisord_is_gone_ends_the_container_with_an_error(tmp_path: Path) -> None:
    container = Container(tmp_path, "up")
    supervisord = container.supervisord
    assert wait_until(container.follows, 20)
    os.kill(supervisord, signal.SIGKILL)
    _, said = container.process.communicate(timeout=30)
    assert container.process.returncode == 1
    assert "supervisord ended" in said
    assert container.asked[-1] == "down --name default"


def test_a_node_that_does_not_start_ends_the_container_as_tslc_ended(tmp_path: Path) -> None:
    container = Container(tmp_path, "up", "--heap", "none")
    _, said = container.process.communicate(timeout=30)
    assert (container.process.returncode, said) == (1, "error: no\n")
    assert len(container.asked) == 1


def test_other_commands_take_its_place(tmp_path: Path) -> None:
    container = Container(tmp_path, "list", "m")
    assert container.process.wait(20) == 0
    assert container.asked == ["list m"]
    assert json.loads((tmp_path / "tslc-container.json").read_text()) == {}


def test_what_is_refused_is_an_error_of_the_input(tmp_path: Path) -> None:
    container = Container(tmp_path, "--model_id", "M")
    _, said = container.process.communicate(timeout=30)
    assert container.process.returncode == 2
    assert said.startswith("error: ")
    assert container.asked == []
