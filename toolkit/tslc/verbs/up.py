"""`tslc up`: a local TorchServe, run as it should be, and the local store if there is no other.

Running already is success.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tslc.adapters import node_folder, seaweedfs, torchserve_process
from tslc.adapters.clock import Deadline, now
from tslc.adapters.loopback_ports import holder, holder_pid, is_free, pick_free
from tslc.adapters.node_processes import node_processes
from tslc.adapters.stop_signals import uninterrupted
from tslc.adapters.torchserve_api import TorchServeApi
from tslc.adapters.torchserve_process import Java, Server
from tslc.domain import node_files
from tslc.domain.local_store import StoreEndpoint
from tslc.domain.node import (
    NodePaths,
    NodeSettings,
    NodeState,
    Ports,
    check_settings,
    check_socket_room,
    node_paths,
)
from tslc.errors import Refused, RemoteFailed

START_SECONDS = 60.0


@dataclass(frozen=True)
class Wish:
    """What was asked for; None and absent mean: as it is, or the default.

    `store`: the local store is to run as well.
    """

    name: str
    ports: Mapping[str, int] = field(default_factory=dict)
    free_ports: bool = False
    heap: str | None = None
    token_minutes: float | None = None
    install_requirements: bool = False
    token_auth: bool = True
    store: bool = False

    def settings(self) -> NodeSettings:
        """The settings of a new node; ports that were not named are free ones if so wished."""
        ports = dict(self.ports)
        if self.free_ports:
            unnamed = [name for name in Ports.model_fields if name not in ports]
            ports |= dict(zip(unnamed, pick_free(len(unnamed)), strict=True))
        said = {"name": self.name, "ports": Ports(**ports), **self._wished()}
        return NodeSettings.model_validate(said)

    def differs_from(self, running: NodeSettings) -> tuple[str, ...]:
        """The wishes a running node does not fulfil."""
        wished = {**{f"{name} port": port for name, port in self.ports.items()}, **self._wished()}
        actual = {f"{name} port": port for name, port in running.ports.model_dump().items()}
        actual |= running.model_dump()
        return tuple(
            f"{name.replace('_', ' ')} {actual[name]}, not {value}"
            for name, value in wished.items()
            if actual[name] != value
        )

    def _wished(self) -> dict[str, object]:
        said = {
            "heap": self.heap,
            "token_minutes": self.token_minutes,
            "install_requirements": self.install_requirements or None,
            "token_auth": None if self.token_auth else False,
        }
        return {name: value for name, value in said.items() if value is not None}


@dataclass(frozen=True)
class Up:
    """`already`: it ran before. In a dry run `plan` says what would be done, and `pid` is None.

    `store` is the local one, if it was wished for; `store_already`: it ran before.
    """

    paths: NodePaths
    settings: NodeSettings
    pid: int | None
    already: bool = False
    plan: tuple[str, ...] = ()
    store: StoreEndpoint | None = None
    store_already: bool = False


def up(
    home: Path,
    wish: Wish,
    env: Mapping[str, str],
    *,
    dry_run: bool = False,
    report: Callable[[str], None] = lambda _: None,
) -> Up:
    """Start the node, or find it running.

    Raises BadInput for settings, ports and a Java that can't be, Refused when the node runs with
    other settings, RemoteFailed when TorchServe or the store does not come up: of the one that did
    not, nothing is left running.
    """
    paths = node_paths(home, wish.name)
    if dry_run:
        return _plan(paths, wish, env)
    with node_folder.locked(paths):
        if running := _running(paths, wish):
            with _local_store(paths, wish, env, report) as with_store:
                return with_store(running)
        # What a start that was killed left behind may hold the very ports of this one.
        torchserve_process.end_leftovers(paths, 0.0)
        settings, java = _check(paths, wish, env)
        with _local_store(paths, wish, env, report) as with_store:
            _prepare(paths, settings)
            server = _start(paths, settings, env, java, report)
            with _undone_when_interrupted(paths):
                return with_store(Up(paths, settings, server.pid))


@contextmanager
def _undone_when_interrupted(paths: NodePaths) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        torchserve_process.end_leftovers(paths, 0.0)
        raise


@contextmanager
def _local_store(
    paths: NodePaths, wish: Wish, env: Mapping[str, str], report: Callable[[str], None]
) -> Iterator[Callable[[Up], Up]]:
    """Starts the store if it is wished for; what it yields waits for it and adds it to a result.

    It starts while TorchServe does. It is ended again when something goes wrong meanwhile.
    """
    if not wish.store:
        yield lambda result: result
        return
    if seaweedfs.is_running(paths):
        yield lambda result: replace(result, store=seaweedfs.endpoint(paths), store_already=True)
        return
    done = False

    def wait(result: Up) -> Up:
        nonlocal done
        report("waiting for the store")
        endpoint = seaweedfs.wait_ready(paths, state)
        done = True
        return replace(result, store=endpoint)

    try:
        state = seaweedfs.launch(paths, env)
        yield wait
    finally:
        if not done:
            seaweedfs.stop(paths, 0.0)


def _running(paths: NodePaths, wish: Wish) -> Up | None:
    state = node_folder.read_state(paths)
    if state is None or not torchserve_process.is_running(state.pid, state.created):
        return None
    if differences := wish.differs_from(state.settings):
        raise Refused(
            f"node '{wish.name}' is running, with {'; '.join(differences)}",
            hint=f"tslc down --name {wish.name}   # then tslc up again",
        )
    return Up(paths, state.settings, state.pid, already=True)


def _check(
    paths: NodePaths, wish: Wish, env: Mapping[str, str], ending: frozenset[int] = frozenset()
) -> tuple[NodeSettings, Java]:
    """All that can be known to fail before anything is started; ports of `ending` will be free."""
    settings = wish.settings()
    check_settings(settings)
    check_socket_room(paths)
    torchserve_process.check_torchserve()
    java = torchserve_process.find_java(env)
    busy = {
        flag: port
        for flag, port in settings.ports.named().items()
        if not is_free(port) and holder_pid(port) not in ending
    }
    if busy:
        raise Refused(
            "\n    ".join(
                ["the node's ports are not all free:"]
                + [f"{flag} {port}: {_held(port)}" for flag, port in busy.items()]
            ),
            hint=f"tslc up --free-ports   # or name others: {' '.join(f'{f} N' for f in busy)}",
        )
    return settings, java


def _held(port: int) -> str:
    by = holder(port)
    return f"held by {by}" if by else "held by a process this user may not see"


def _plan(paths: NodePaths, wish: Wish, env: Mapping[str, str]) -> Up:
    to_start: tuple[str, ...] = ()
    if wish.store and not seaweedfs.is_running(paths):
        to_start = (f"start SeaweedFS ({seaweedfs.find_weed(env)}) on 127.0.0.1: the local store",)
    if running := _running(paths, wish):
        return replace(running, plan=to_start)
    left = frozenset(process.pid for process in node_processes(paths))
    settings, java = _check(paths, wish, env, left)
    ports = ", ".join(f"{name} {port}" for name, port in settings.ports.model_dump().items())
    steps = (
        *([f"end what an earlier start left: {sorted(left)}"] if left else []),
        f"write {paths.config.name}, {paths.log_config.name} and {paths.metrics_config.name} "
        f"to {paths.root}",
        f"start TorchServe with Java {java}, heap {settings.heap}",
        f"on 127.0.0.1: {ports}",
        f"wait up to {START_SECONDS:g} s until it answers",
    )
    return Up(paths, settings, None, plan=(*steps, *to_start))


def _prepare(paths: NodePaths, settings: NodeSettings) -> None:
    """The node's files; those of a TorchServe that died go."""
    node_folder.make_folders(paths)
    for folder in (paths.run, paths.tmp):
        node_folder.empty(folder)
    paths_and_texts = {
        paths.config: node_files.render_config(settings, paths),
        paths.log_config: node_files.render_log_config(paths),
        paths.metrics_config: node_files.render_metrics_config(),
    }
    for path, text in paths_and_texts.items():
        node_folder.write_atomically(path, text)
    node_folder.remove(paths.key_file)


def _start(
    paths: NodePaths,
    settings: NodeSettings,
    env: Mapping[str, str],
    java: Java,
    report: Callable[[str], None],
) -> Server:
    done = False
    try:
        server = torchserve_process.launch(paths, env, java)
        _wait(paths, settings, server, report)
        state = NodeState(
            settings=settings,
            pid=server.pid,
            created=server.created,
            started=now().isoformat(timespec="seconds"),
            java=str(java),
        )
        node_folder.write_state(paths, state)
        done = True
        return server
    finally:
        # Also when the wait is interrupted: nothing may stay behind of a node that is not up.
        if not done:
            with uninterrupted():
                torchserve_process.end_leftovers(paths, 0.0)


def _wait(
    paths: NodePaths, settings: NodeSettings, server: Server, report: Callable[[str], None]
) -> None:
    """It is up when it takes the keys it wrote: another server on its port would not."""
    key_file = paths.key_file if settings.token_auth else None
    api = TorchServeApi(settings.ports, key_file, settings.name, key_seconds=0.0)
    deadline = Deadline(START_SECONDS)
    for left in deadline.rounds(0.1):
        report(f"starting TorchServe: {deadline.spent:.0f} s")
        try:
            api.models()
            return
        except RemoteFailed:
            if not torchserve_process.is_running(server.pid, server.created):
                raise torchserve_process.start_failed(paths, "TorchServe ended at once") from None
            if left <= 0:
                message = f"TorchServe did not answer within {START_SECONDS:g} s"
                raise torchserve_process.start_failed(paths, message) from None
