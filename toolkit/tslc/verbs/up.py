"""`tslc up`: a node, run as it should be: TorchServe, and the local store if there is no other.

supervisord keeps its programs running. Running already is success; what is missing is started, and
what a supervisord that was killed left running is taken over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tslc.adapters import node_folder, program_runs, seaweedfs, supervisor, torchserve_process
from tslc.adapters.clock import Deadline, now
from tslc.adapters.loopback_ports import holder, holder_pid, is_free, pick_free
from tslc.adapters.node_processes import node_processes
from tslc.adapters.stop_signals import uninterrupted
from tslc.adapters.torchserve_api import TorchServeApi
from tslc.adapters.torchserve_process import Java
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
from tslc.domain.supervised import STORE, TORCHSERVE, Program, ProgramRun
from tslc.errors import Refused, RemoteFailed
from tslc.verbs.node_programs import routing_programs, store_program, torchserve_program

START_SECONDS = 60.0


@dataclass(frozen=True)
class Wish:
    """What was asked for; None and absent mean: as it is, or the default.

    `store`: the local store is to run as well; `router`: the router and the agent are.
    """

    name: str
    ports: Mapping[str, int] = field(default_factory=dict)
    free_ports: bool = False
    heap: str | None = None
    token_minutes: float | None = None
    install_requirements: bool = False
    token_auth: bool = True
    store: bool = False
    router: bool = False

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
    other settings, RemoteFailed when TorchServe or the store does not come up: nothing is left
    running then of a node that did not run before.
    """
    paths = node_paths(home, wish.name)
    if dry_run:
        return _plan(paths, wish, env)
    with node_folder.locked(paths):
        if state := _running(paths, wish):
            return _join(paths, state, wish, env, report)
        # What a start that was killed left behind may hold the very ports of this one.
        _end_all(paths)
        settings, java = _check(paths, wish, env)
        with _undone(lambda: _end_all(paths)):
            return _begin(paths, settings, java, wish, env, report)


@contextmanager
def _undone(undo: Callable[[], None]) -> Iterator[None]:
    """Also when it is interrupted: nothing may stay behind of what is not up."""
    done = False
    try:
        yield
        done = True
    finally:
        if not done:
            with uninterrupted():
                undo()


def _end_all(paths: NodePaths) -> None:
    """Everything of a node that is not up, or shall not be."""
    supervisor.end_supervisor(paths)
    supervisor.end_programs(paths)
    torchserve_process.end_leftovers(paths, 0.0)
    seaweedfs.stop(paths, 0.0)
    program_runs.forget_runs(paths)
    node_folder.write_stopped(paths)


def _begin(
    paths: NodePaths,
    settings: NodeSettings,
    java: Java,
    wish: Wish,
    env: Mapping[str, str],
    report: Callable[[str], None],
) -> Up:
    _prepare(paths, settings)
    programs = [torchserve_program(paths, settings, java, env)]
    if wish.store:
        store = seaweedfs.prepare(paths)
        programs.append(store_program(paths, store, env))
    if wish.router:
        programs += routing_programs(paths, settings, env)
    supervisor.start(paths, programs, env)
    run = _wait(paths, settings, report, lambda: supervisor.has_failed(paths, TORCHSERVE))
    endpoint = None
    if wish.store:
        report("waiting for the store")
        endpoint = seaweedfs.wait_ready(paths, store, lambda: supervisor.has_failed(paths, STORE))
    state = NodeState(
        settings=settings,
        pid=run.pid,
        created=run.created,
        started=now().isoformat(timespec="seconds"),
        java=str(java),
    )
    node_folder.write_state(paths, state)
    return Up(paths, settings, run.pid, store=endpoint)


def _running(paths: NodePaths, wish: Wish) -> NodeState | None:
    """What a node that is up remembers: one whose supervisord was killed, or whose TorchServe is
    just started again, is up as well."""
    state = node_folder.read_state(paths)
    if state is None or state.pid is None:
        return None
    if not supervisor.is_running(paths) and torchserve_process.running(paths) is None:
        return None
    if differences := wish.differs_from(state.settings):
        raise Refused(
            f"node '{wish.name}' is running, with {'; '.join(differences)}",
            hint=f"tslc down --name {wish.name}   # then tslc up again",
        )
    return state


def _join(
    paths: NodePaths,
    state: NodeState,
    wish: Wish,
    env: Mapping[str, str],
    report: Callable[[str], None],
) -> Up:
    """Start what the running node lacks."""
    known = {one.name: one for one in program_runs.read_programs(paths)}
    if supervisor.is_running(paths):
        pausing = supervisor.hurry(paths)
    else:
        pausing = frozenset()
        if seaweedfs.server(paths) is None:
            known.pop(STORE, None)
        supervisor.start(paths, known.values(), env)
    if STORE in pausing:
        # Its ports may be what it fails for: it is made anew.
        supervisor.take(paths, known.pop(STORE))
    if wish.router:
        for program in routing_programs(paths, state.settings, env):
            if program.name not in known:
                supervisor.put(paths, program)
    store_already = wish.store and seaweedfs.is_running(paths)
    endpoint = _join_store(paths, STORE in known, env, report) if wish.store else None
    run = _wait(paths, state.settings, report, lambda: not supervisor.is_running(paths))
    return Up(
        paths, state.settings, run.pid, already=True, store=endpoint, store_already=store_already
    )


def _join_store(
    paths: NodePaths, known: bool, env: Mapping[str, str], report: Callable[[str], None]
) -> StoreEndpoint:
    report("waiting for the store")
    if known and (state := seaweedfs.read_state(paths)):
        return seaweedfs.wait_ready(paths, state)
    state = seaweedfs.prepare(paths)
    program = store_program(paths, state, env)
    with _undone(lambda: _take_store(paths, program)):
        supervisor.put(paths, program)
        return seaweedfs.wait_ready(paths, state)


def _take_store(paths: NodePaths, program: Program) -> None:
    supervisor.take(paths, program)
    seaweedfs.stop(paths, 0.0)


def _check(
    paths: NodePaths, wish: Wish, env: Mapping[str, str], ending: frozenset[int] = frozenset()
) -> tuple[NodeSettings, Java]:
    """All that can be known to fail before anything is started; ports of `ending` will be free."""
    settings = wish.settings()
    check_settings(settings)
    check_socket_room(paths)
    torchserve_process.check_torchserve()
    supervisor.check_installed()
    java = torchserve_process.find_java(env)
    busy = {
        flag: port
        for flag, port in settings.ports.used(router=wish.router).items()
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
    store: tuple[str, ...] = ()
    if wish.store and not seaweedfs.is_running(paths):
        store = (f"start SeaweedFS ({seaweedfs.find_weed(env)}) on 127.0.0.1: the local store",)
    if state := _running(paths, wish):
        again = "start supervisord again, which takes over what runs"
        recovery = () if supervisor.is_running(paths) else (again,)
        run = torchserve_process.running(paths)
        pid = run.pid if run else None
        return Up(paths, state.settings, pid, already=True, plan=(*recovery, *store))
    left = frozenset(
        process.pid for process in (*supervisor.processes(paths), *node_processes(paths))
    )
    settings, java = _check(paths, wish, env, left)
    used = settings.ports.used(router=wish.router)
    ports = ", ".join(f"{flag.strip('-')} {port}" for flag, port in used.items())
    steps = (
        *([f"end what an earlier start left: {sorted(left)}"] if left else []),
        f"write {paths.config.name}, {paths.log_config.name} and {paths.metrics_config.name} "
        f"to {paths.root}",
        "start supervisord, which keeps running what is started here",
        f"start TorchServe with Java {java}, heap {settings.heap}",
        f"on 127.0.0.1: {ports}",
        f"wait up to {START_SECONDS:g} s until it answers",
    )
    return Up(paths, settings, None, plan=(*steps, *store))


def _prepare(paths: NodePaths, settings: NodeSettings) -> None:
    """The node's files."""
    node_folder.make_folders(paths)
    paths_and_texts = {
        paths.config: node_files.render_config(settings, paths),
        paths.log_config: node_files.render_log_config(paths),
        paths.metrics_config: node_files.render_metrics_config(),
        # Its last words are then those of this start.
        paths.console: "",
    }
    for path, text in paths_and_texts.items():
        node_folder.write_atomically(path, text)


def _wait(
    paths: NodePaths,
    settings: NodeSettings,
    report: Callable[[str], None],
    has_failed: Callable[[], bool],
) -> ProgramRun:
    """It is up when it takes the keys it wrote: another server on its port would not."""
    key_file = paths.key_file if settings.token_auth else None
    api = TorchServeApi(settings.ports, key_file, settings.name, key_seconds=0.0)
    deadline = Deadline(START_SECONDS)
    for left in deadline.rounds(0.1):
        report(f"starting TorchServe: {deadline.spent:.0f} s")
        try:
            if run := torchserve_process.running(paths):
                api.models()
                return run
        except RemoteFailed:
            pass
        if has_failed():
            raise torchserve_process.start_failed(paths, "TorchServe ended at once")
        if left <= 0:
            break
    message = f"TorchServe did not answer within {START_SECONDS:g} s"
    raise torchserve_process.start_failed(paths, message)
