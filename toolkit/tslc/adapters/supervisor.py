"""The node's supervisord: starting it, giving it programs, stopping it with all it runs.

It keeps running what it started, and takes over what a supervisord that was killed left running:
tslc.node_program, which it starts in place of each program, sees to that.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterable, Mapping

from tslc.adapters import program_runs
from tslc.adapters.clock import Deadline, wait_until
from tslc.adapters.node_folder import last_lines
from tslc.adapters.node_processes import Process, has_mark, kill, marked_processes
from tslc.adapters.private_files import write_private
from tslc.adapters.supervisor_rpc import SupervisorRpc
from tslc.domain.node import NodePaths
from tslc.domain.supervised import (
    PROGRAM_MARK,
    SUPERVISOR_MARK,
    Program,
    SupervisorPaths,
    render_supervisord,
    stop_waves,
)
from tslc.errors import BadInput, RemoteFailed

_START_SECONDS = 30.0
# More than a program's own: supervisord looks at its programs once a second.
_STOP_EXTRA_SECONDS = 3.0
_GONE = frozenset({"STOPPED", "EXITED", "FATAL", "BACKOFF"})


def check_installed() -> None:
    """Raises BadInput where supervisord is not installed beside tslc."""
    import importlib.util

    if importlib.util.find_spec("supervisor") is None:
        raise BadInput("supervisord is not installed here", hint="pip install 'tslc[cpu]'")


def is_running(node: NodePaths) -> bool:
    """Whether the supervisord of the node runs; one that was killed leaves its pid file."""
    paths = SupervisorPaths.of(node)
    with contextlib.suppress(OSError, ValueError):
        return _is_own(node, int(paths.pid.read_text()))
    return False


def _is_own(node: NodePaths, pid: int) -> bool:
    from psutil import Error

    with contextlib.suppress(Error):
        return has_mark(Process(pid), SUPERVISOR_MARK, node.root)
    return False


def start(node: NodePaths, programs: Iterable[Program], env: Mapping[str, str]) -> None:
    """Start supervisord with these programs and no others; it starts them.

    Raises RemoteFailed. `env` is its environment, of which the programs get what they name.
    """
    end_supervisor(node)
    paths, wanted = SupervisorPaths.of(node), tuple(programs)
    for old in program_runs.read_programs(node):
        if old.name not in {one.name for one in wanted}:
            program_runs.forget(node, old.name)
    for program in wanted:
        program_runs.write_program(node, program)
    _write_config(node)
    try:
        with paths.console.open("wb") as console:
            subprocess.run(
                [sys.executable, "-P", "-m", "supervisor.supervisord", "-c", str(paths.config)],
                cwd=paths.root,
                env={**env, SUPERVISOR_MARK: str(node.root)},
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                # Out of the terminal's process group: Ctrl-C is for tslc alone.
                start_new_session=True,
                umask=0o077,
                check=True,
                timeout=_START_SECONDS,
            )
    except (OSError, subprocess.SubprocessError) as error:
        raise _start_failed(paths, f"supervisord did not start: {error}") from error
    # It has made its socket, and writes its pid next.
    if not wait_until(lambda: is_running(node), _START_SECONDS):
        raise _start_failed(paths, "supervisord ended at once")


def _write_config(node: NodePaths) -> None:
    text = render_supervisord(program_runs.read_programs(node), sys.executable)
    write_private(SupervisorPaths.of(node).config, text)


def _start_failed(paths: SupervisorPaths, message: str) -> RemoteFailed:
    words = last_lines(paths.console, 4) or last_lines(paths.log, 4)
    return RemoteFailed("\n    ".join([message, *words]), hint=f"less {paths.log}")


def put(node: NodePaths, program: Program) -> None:
    """Have the running supervisord run this program: one more, or anew. Raises RemoteFailed."""
    rpc = _rpc(node)
    known = program.name in rpc.states()
    if known:
        _stop_wave(rpc, (program,))
    program_runs.write_program(node, program)
    _write_config(node)
    if known:
        rpc.start(program.name)
    else:
        rpc.add(program.name)


def take(node: NodePaths, program: Program) -> None:
    """Stop a program of the running supervisord and forget it."""
    rpc = _rpc(node)
    _stop_wave(rpc, (program,))
    with contextlib.suppress(RemoteFailed):
        rpc.remove(program.name)
    program_runs.forget(node, program.name)
    _write_config(node)


def hurry(node: NodePaths) -> frozenset[str]:
    """Start at once what supervisord pauses to start again; the names of those."""
    rpc = _rpc(node)
    pausing = frozenset(name for name, state in rpc.states().items() if state == "BACKOFF")
    for name in pausing:
        # It may just have been started.
        with contextlib.suppress(RemoteFailed):
            rpc.stop(name)
            rpc.start(name)
    return pausing


def has_failed(node: NodePaths, name: str) -> bool:
    """Whether a program that was to start for the first time ended instead."""
    run = program_runs.last_run(node, name)
    if run is not None and run.starts > 1:
        return True
    try:
        state = _rpc(node).states().get(name)
    except RemoteFailed:
        return not is_running(node)
    return state is None or state in _GONE


def stop(node: NodePaths) -> None:
    """Stop all programs, in their order, then supervisord; what won't answer is killed."""
    if is_running(node):
        with contextlib.suppress(RemoteFailed):
            rpc = _rpc(node)
            for wave in stop_waves(program_runs.read_programs(node)):
                _stop_wave(rpc, wave)
    end_supervisor(node)


def _stop_wave(rpc: SupervisorRpc, wave: Iterable[Program]) -> None:
    stopping = tuple(wave)
    for program in stopping:
        # One that does not run can't be stopped.
        with contextlib.suppress(RemoteFailed):
            rpc.stop(program.name)
    names = {program.name for program in stopping}
    seconds = max((program.stop_seconds for program in stopping), default=0)
    for _ in Deadline(seconds + _STOP_EXTRA_SECONDS).rounds(0.05):
        states = rpc.states()
        if all(states[name] in _GONE for name in names if name in states):
            return


def end_supervisor(node: NodePaths) -> None:
    """End supervisord, and what it started that is not yet the program itself; it has nothing to
    finish. The programs run on. Raises RemoteFailed when one won't end."""
    _kill(node, SUPERVISOR_MARK)
    paths = SupervisorPaths.of(node)
    for path in (paths.pid, paths.socket):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def end_programs(node: NodePaths) -> None:
    """End the router and the agent that a supervisord left. Raises RemoteFailed."""
    _kill(node, PROGRAM_MARK)


def processes(node: NodePaths) -> tuple[Process, ...]:
    """supervisord, what it is just starting, the router and the agent."""
    marks = (SUPERVISOR_MARK, PROGRAM_MARK)
    return tuple(one for mark in marks for one in marked_processes(mark, node.root))


def _kill(node: NodePaths, mark: str) -> None:
    # Again until there is none: what is being ended may start another.
    while found := marked_processes(mark, node.root):
        # Killed at once: asked to end, supervisord would first stop its programs by itself.
        if left := kill(found):
            pids = " ".join(str(process.pid) for process in left)
            message = f"processes of node '{node.name}' won't end: {pids}"
            raise RemoteFailed(message, hint=f"kill -9 {pids}")


def _rpc(node: NodePaths) -> SupervisorRpc:
    return SupervisorRpc(SupervisorPaths.of(node).socket)
