"""The programs of a node, as supervisord keeps them running.

Decides how each is stopped and in which order, that one that dies is started again for ever (with
a pause that grows by a second each time), and what supervisord.conf says. Neither values of
environment variables nor paths of the node are in that file: its format can't hold every value,
and some are secrets. supervisord has the environment of the `tslc up` that started it; a program
takes from there what it is to have, by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from tslc.domain.node import NodePaths
from tslc.domain.state_file import parse_state
from tslc.errors import BadInput

TORCHSERVE = "torchserve"
STORE = "store"
ROUTER = "router"
AGENT = "agent"
# By this variable supervisord is found, and what it started that is not yet the program itself.
SUPERVISOR_MARK = "TSLC_SUPERVISOR_MARK"
# By this variable the router and the agent are found; TorchServe and the store have older ones.
PROGRAM_MARK = "TSLC_PROGRAM_MARK"
# supervisord sets variables of such names itself.
_ITS_OWN = "SUPERVISOR_"
# One that ends sooner than that is waited with before it is started again.
_SETTLE_SECONDS = 10
_FOR_EVER = 2_147_483_647
_FIX = "tslc down   # then tslc up: it is written anew"
_PLAIN = re.compile(r"[A-Za-z0-9_./-]")


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


class Program(_Value):
    """One program of a node: supervisor/NAME.json, read again each time it is started.

    Its environment is `environment` and, of supervisord's, the variables `inherited` names; nothing
    else. Of two programs the one with the higher priority is stopped first, those with the same are
    stopped together; after `stop_seconds` one that still runs is killed.
    """

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    inherited: tuple[str, ...] = ()
    folder: Path
    log: Path
    priority: int
    stop_signal: Literal["TERM", "INT", "QUIT"] = "TERM"
    stop_seconds: int = 10

    def exact(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """Its whole environment, where supervisord's is `inherited`."""
        named = {name: inherited[name] for name in self.inherited if name in inherited}
        return named | self.environment

    def render(self) -> str:
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def parse(cls, text: str, subject: str) -> Program:
        """Raises BadFile."""
        return parse_state(cls, text, subject, _FIX)


def split_environment(
    wanted: Mapping[str, str], supervisord: Mapping[str, str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """`environment` and `inherited` of a program that is to have the environment `wanted`."""
    inherited = tuple(
        name
        for name, value in wanted.items()
        if supervisord.get(name) == value and not name.startswith(_ITS_OWN)
    )
    return {name: wanted[name] for name in wanted if name not in inherited}, inherited


class ProgramRun(_Value):
    """supervisor/NAME.run.json: the process a program is now, or was last.

    `starts`: how often it was started since `tslc up`; `created` as in NodeState.
    """

    pid: int
    created: float
    since: str
    starts: int

    def render(self) -> str:
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def parse(cls, text: str, subject: str) -> ProgramRun:
        """Raises BadFile."""
        return parse_state(cls, text, subject, _FIX)


@dataclass(frozen=True)
class ProgramStatus:
    """What `tslc status` shows of a program; `run` is None when it was never started."""

    name: str
    running: bool
    run: ProgramRun | None

    @property
    def restarts(self) -> int:
        return self.run.starts - 1 if self.run else 0


@dataclass(frozen=True)
class SupervisorPaths:
    """What lies in the supervisor's folder; supervisord runs with `root` as its current folder."""

    root: Path

    @classmethod
    def of(cls, node: NodePaths) -> SupervisorPaths:
        return cls(node.supervisor)

    @property
    def config(self) -> Path:
        return self.root / "supervisord.conf"

    @property
    def log(self) -> Path:
        return self.root / "supervisord.log"

    @property
    def pid(self) -> Path:
        return self.root / "supervisord.pid"

    @property
    def console(self) -> Path:
        return self.root / "console.log"

    @property
    def socket(self) -> Path:
        return self.root / "control.sock"

    def program(self, name: str) -> Path:
        return self.root / f"{name}.json"

    def run(self, name: str) -> Path:
        return self.root / f"{name}.run.json"

    def output(self, name: str) -> Path:
        """What is said before the program has its own log."""
        return self.root / f"{name}.out"


def render_supervisord(programs: Iterable[Program], python: str) -> str:
    """supervisord.conf; all its paths are relative to the supervisor's folder.

    Raises BadInput when the path of Python can't be written down.
    """
    paths = SupervisorPaths(Path())
    head = f"""\
[supervisord]
logfile={paths.log}
logfile_maxbytes=1MB
logfile_backups=1
pidfile={paths.pid}
umask=077
nocleanup=true

[unix_http_server]
file={paths.socket}
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""
    return head + "".join(_section(program, python) for program in programs)


def _section(program: Program, python: str) -> str:
    paths = SupervisorPaths(Path())
    words = (python, "-P", "-m", "tslc.node_program", str(paths.program(program.name)))
    return f"""
[program:{program.name}]
command={" ".join(_escaped(word) for word in words)}
priority={program.priority}
autorestart=true
startsecs={_SETTLE_SECONDS}
startretries={_FOR_EVER}
stopsignal={program.stop_signal}
stopwaitsecs={program.stop_seconds}
killasgroup=true
redirect_stderr=true
stdout_logfile={_doubled(str(paths.output(program.name)))}
stdout_logfile_maxbytes=64KB
stdout_logfile_backups=0
"""


def _escaped(word: str) -> str:
    """As supervisord reads it back: '%' stands for a name, then a shell's rules."""
    if not word.isprintable():
        raise BadInput(f"supervisord.conf can't hold {word!r}", hint="move it to another folder")
    return _doubled("".join(c if _PLAIN.match(c) else f"\\{c}" for c in word))


def _doubled(text: str) -> str:
    return text.replace("%", "%%")


def stop_waves(programs: Iterable[Program]) -> tuple[tuple[Program, ...], ...]:
    """Which to stop together, the first first."""
    ordered = sorted(programs, key=lambda one: (-one.priority, one.name))
    return tuple(tuple(wave) for _, wave in groupby(ordered, key=lambda one: one.priority))
