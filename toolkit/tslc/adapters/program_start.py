"""What supervisord starts in place of a program: it prepares the ground, then becomes the program.

It becomes it (exec), so that supervisord sees the program's own death and there is no process in
between that could die. Where the program runs already, left by a supervisord that was killed, it
waits for its end instead and hands on the wish to stop: nothing is ever started twice.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import NoReturn

import psutil

from tslc.adapters import program_runs, seaweedfs, torchserve_process
from tslc.adapters.clock import now, wait_until
from tslc.adapters.private_files import write_private
from tslc.domain.node import NodePaths
from tslc.domain.supervised import (
    STORE,
    TORCHSERVE,
    Program,
    ProgramRun,
    SupervisorPaths,
)

_LARGEST_LOG = 10_000_000
_WATCH_SECONDS = 0.5


def become(path: Path, env: Mapping[str, str]) -> NoReturn:
    """Become the program that `path` describes, a file in the supervisor's folder of a node."""
    program = Program.parse(path.read_text("utf-8"), str(path))
    node = NodePaths(path.absolute().parent.parent)
    _use_log(program)
    if run := program_runs.running(node, program.name):
        _watch(run)
        sys.exit(0)
    if prepare := _PREPARATIONS.get(program.name):
        prepare(node)
    _remember(node, program.name)
    os.chdir(program.folder)
    os.execvpe(program.command[0], program.command, program.exact(env))  # noqa: S606


def _use_log(program: Program) -> None:
    """Not supervisord's pipe, which ends with it: what writes to such a one may end, too."""
    with contextlib.suppress(FileNotFoundError):
        if program.log.stat().st_size > _LARGEST_LOG:
            program.log.replace(program.log.with_suffix(f".1{program.log.suffix}"))
    log = os.open(program.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)


def _watch(run: ProgramRun) -> None:
    """Wait until it has ended; told to end, tell it."""
    process = psutil.Process(run.pid)

    def hand_on(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, hand_on)
    wait_until(lambda: not program_runs.is_alive(run), math.inf, _WATCH_SECONDS)


def _remember(node: NodePaths, name: str) -> None:
    before = program_runs.last_run(node, name)
    run = ProgramRun(
        pid=os.getpid(),
        created=psutil.Process().create_time(),
        since=now().isoformat(timespec="seconds"),
        starts=before.starts + 1 if before else 1,
    )
    write_private(SupervisorPaths.of(node).run(name), run.render())


def _prepare_store(node: NodePaths) -> None:
    seaweedfs.stop(node, 0.0)


_PREPARATIONS: Mapping[str, Callable[[NodePaths], None]] = {
    TORCHSERVE: torchserve_process.prepare,
    STORE: _prepare_store,
}
