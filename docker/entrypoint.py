"""What a container runs: `tslc` with the arguments of `docker run`, and three things of its own.

- Flags alone (`--model_id …`, as TorchServe's documentation has them) mean `tslc run`.
- Where nothing else is said, the router of `up` and the server of `run` listen for others than the
  container itself. The router lets nobody in without an API key; the quick run asks for none, so it
  is refused until `--disable_token_auth` or `--host` says that this is meant. TorchServe always
  listens on 127.0.0.1.
- `up` starts a node and is done, but a container has to stay. It stays as long as the node's
  supervisord does, shows the node's logs, and takes the node down when it is told to stop.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

EVERYWHERE = "0.0.0.0"
RUN_PORT = "8080"
OPEN_RUN = ("--disable_token_auth", "--disable-token-auth", "--host")
SAYS_ONLY = ("-h", "--help", "--version", "--dry-run")
# What health.py is to look at.
NOTE = Path(tempfile.gettempdir(), "tslc-container.json")
LOGS = ("agent.log", "router.log", "ts_log.log", "model_log.log")


class BadArguments(Exception):
    """Arguments that a container can't be run with."""


def command(arguments: Sequence[str]) -> list[str]:
    """The arguments for tslc. Raises BadArguments."""
    given = list(arguments) or ["--help"]
    if given[0].startswith("-") and given[0] not in SAYS_ONLY:
        given.insert(0, "run")
    if any(says(given, flag) for flag in SAYS_ONLY):
        return given
    if given[0] == "up":
        return with_default(given, "--router-host", EVERYWHERE)
    return open_run(given) if given[0] == "run" else given


def open_run(given: list[str]) -> list[str]:
    if value_of(given, "--server", "uvicorn") != "uvicorn":
        raise BadArguments(
            "TorchServe listens on the container's own 127.0.0.1, where nobody else can ask it: "
            "leave --server out, the same paths are served without it"
        )
    if not any(says(given, flag) for flag in OPEN_RUN):
        raise BadArguments(
            "whoever reaches the container could use the model, for no key is asked for: add "
            "--disable_token_auth if that is meant, or start a node, whose router has API keys: up"
        )
    return with_default(with_default(given, "--host", EVERYWHERE), "--port", RUN_PORT)


def says(given: Sequence[str], flag: str) -> bool:
    return any(one == flag or one.startswith(f"{flag}=") for one in given)


def with_default(given: list[str], flag: str, value: str) -> list[str]:
    return given if says(given, flag) else [*given, flag, value]


def value_of(given: Sequence[str], flag: str, default: str) -> str:
    """What the last `--flag VALUE` or `--flag=VALUE` says."""
    found = default
    for one, following in zip(given, [*given[1:], ""], strict=True):
        if one == flag:
            found = following
        elif one.startswith(f"{flag}="):
            found = one.removeprefix(f"{flag}=")
    return found


def note_of(given: Sequence[str]) -> dict[str, str]:
    """What there is to be looked at once this runs; nothing for a command that serves nothing."""
    if any(says(given, flag) for flag in SAYS_ONLY):
        return {}
    if given[0] == "run":
        host = value_of(given, "--host", EVERYWHERE)
        return {"host": host, "port": value_of(given, "--port", RUN_PORT)}
    return {"node": value_of(given, "--name", "default")} if given[0] == "up" else {}


class Node:
    """`tslc up`, and what comes after it."""

    def __init__(self, given: Sequence[str]) -> None:
        self.given = [*given, *([] if says(given, "--json") else ["--json"])]
        self.name = value_of(given, "--name", "default")
        self.told_to_stop = False
        self.child: subprocess.Popen[str] | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.stop)

    def stop(self, number: int, frame: FrameType | None) -> None:
        self.told_to_stop = True
        if self.child and self.child.poll() is None:
            self.child.terminate()

    def run(self) -> int:
        """The exit code: 0 when it was told to stop, or that of `tslc up` when it failed."""
        code, about = self.call(["tslc", *self.given])
        if code:
            return 0 if self.told_to_stop else code
        print(about, end="", flush=True)
        if not self.told_to_stop:
            self.follow(Path(json.loads(about)["folder"]))
        stopped = self.told_to_stop
        if not stopped:
            say("the node's supervisord ended")
        say("taking the node down")
        subprocess.run(["tslc", "down", "--name", self.name], check=False, stdout=sys.stderr)
        return 0 if stopped else 1

    def call(self, words: Sequence[str]) -> tuple[int, str]:
        self.child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        said, _ = self.child.communicate()
        return self.child.returncode, said

    def follow(self, folder: Path) -> None:
        """Show what is new in the logs until supervisord is gone, or the signal to stop comes."""
        supervisord = (folder / "supervisor" / "supervisord.pid").read_text().strip()
        logs = [str(folder / "logs" / log) for log in LOGS]
        words = ["tail", "--quiet", "--lines=0", "-F", f"--pid={supervisord}", *logs]
        self.child = subprocess.Popen(words, text=True, stderr=subprocess.DEVNULL)
        if self.told_to_stop:
            self.child.terminate()
        self.child.wait()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    try:
        given = command(sys.argv[1:])
    except BadArguments as error:
        say(f"error: {error}")
        return 2
    note = note_of(given)
    NOTE.write_text(json.dumps(note))
    if "node" in note:
        return Node(given).run()
    return os.execvp("tslc", ["tslc", *given])


if __name__ == "__main__":
    sys.exit(main())
