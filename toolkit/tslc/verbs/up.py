"""`tslc up`: a node, run as it should be: TorchServe, and the local store if there is no other.

supervisord keeps its programs running. Running already is success; what is missing is started, and
what a supervisord that was killed left running is taken over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tslc.adapters import node_folder, program_runs, seaweedfs, supervisor, torchserve_process
from tslc.adapters.clock import Deadline, now
from tslc.adapters.envoy_router import EnvoyRouter
from tslc.adapters.loopback_ports import is_free
from tslc.adapters.node_folder import last_lines
from tslc.adapters.stop_signals import uninterrupted
from tslc.adapters.torchserve_api import TorchServeApi
from tslc.adapters.torchserve_process import Java
from tslc.domain import node_files
from tslc.domain.local_store import StoreEndpoint
from tslc.domain.node import (
    NodePaths,
    NodeSettings,
    NodeState,
    node_paths,
)
from tslc.domain.supervised import AGENT, ROUTER, STORE, TORCHSERVE, Program, ProgramRun
from tslc.errors import Refused, RemoteFailed
from tslc.verbs.node_programs import (
    ENVIRONMENT_VARIABLE,
    RoutingWish,
    routing_programs,
    store_program,
    torchserve_program,
)
from tslc.verbs.up_plan import START_SECONDS, Up, Wish, check, plan_up, running_state

__all__ = ["Up", "Wish", "up"]


def up(
    home: Path,
    wish: Wish,
    env: Mapping[str, str],
    *,
    dry_run: bool = False,
    report: Callable[[str], None] = lambda _: None,
) -> Up:
    """Start the node, or find it running.

    Raises BadInput for settings and a Java that can't be, Refused when another program has a port
    or the node runs with other settings, RemoteFailed when TorchServe or the store does not come
    up: nothing is left running then of a node that did not run before.
    """
    paths = node_paths(home, wish.name)
    if dry_run:
        return plan_up(paths, wish, env)
    with node_folder.locked(paths):
        if state := running_state(paths, wish):
            return _join(paths, state, wish, env, report)
        return _start(paths, wish, env, report)


def _start(
    paths: NodePaths,
    wish: Wish,
    env: Mapping[str, str],
    report: Callable[[str], None],
    tries: int = 3,
) -> Up:
    """The ports were free when they were looked at; should another program have been quicker to
    take one, the next try takes others, or says which of those that were named it has."""
    # What a start that was killed left behind may hold the very ports of this one.
    _end_all(paths)
    settings, java = check(paths, wish, env)
    try:
        with _undone(lambda: _end_all(paths)):
            return _begin(paths, settings, java, wish, env, report)
    except RemoteFailed:
        if tries == 1 or all(is_free(port) for port in _ports(paths, settings, wish)):
            raise
    return _start(paths, wish, env, report, tries - 1)


def _ports(paths: NodePaths, settings: NodeSettings, wish: Wish) -> frozenset[int]:
    """What the programs of a node listen on."""
    store = seaweedfs.read_state(paths) if wish.store else None
    return frozenset(
        [
            *settings.ports.used(router=wish.routing is not None).values(),
            *(store.ports.model_dump().values() if store else ()),
        ]
    )


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
        store = seaweedfs.prepare(paths, frozenset(settings.ports.named().values()))
        programs.append(store_program(paths, store, env))
    if wish.routing:
        programs += routing_programs(paths, settings, wish.routing, env)
    supervisor.start(paths, programs, env)
    run = _wait(paths, settings, report, lambda: supervisor.has_failed(paths, TORCHSERVE))
    endpoint = None
    if wish.store:
        report("waiting for the store")
        endpoint = seaweedfs.wait_ready(paths, store, lambda: supervisor.has_failed(paths, STORE))
    router = _wait_router(paths, wish, report, lambda: supervisor.has_failed(paths, ROUTER))
    state = NodeState(
        settings=settings,
        pid=run.pid,
        created=run.created,
        started=now().isoformat(timespec="seconds"),
        java=str(java),
    )
    node_folder.write_state(paths, state)
    return Up(paths, settings, run.pid, store=endpoint, router=router)


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
    if wish.routing:
        _expect_environment(paths, known, wish.routing)
        if {ROUTER, AGENT} - known.keys():
            programs = routing_programs(paths, state.settings, wish.routing, env)
            # Started anew it has the environment that these are to have; what runs is taken over.
            supervisor.start(paths, (known | {one.name: one for one in programs}).values(), env)
    store_already = wish.store and seaweedfs.is_running(paths)
    own = frozenset(state.settings.ports.named().values())
    endpoint = _join_store(paths, STORE in known, own, env, report) if wish.store else None
    run = _wait(paths, state.settings, report, lambda: not supervisor.is_running(paths))
    return Up(
        paths,
        state.settings,
        run.pid,
        already=True,
        store=endpoint,
        store_already=store_already,
        # One that died meanwhile has been started more than once, and is well.
        router=_wait_router(paths, wish, report, lambda: not supervisor.is_running(paths)),
    )


def _expect_environment(
    paths: NodePaths, known: Mapping[str, Program], routing: RoutingWish
) -> None:
    """Raises Refused when the node's agent serves another environment."""
    agent = known.get(AGENT)
    served = agent and agent.environment.get(ENVIRONMENT_VARIABLE)
    if served and served != routing.environment:
        raise Refused(
            f"node '{paths.name}' serves environment {served}, not {routing.environment}",
            hint=f"tslc down --name {paths.name}   # then tslc up again",
        )


def _wait_router(
    paths: NodePaths,
    wish: Wish,
    report: Callable[[str], None],
    has_failed: Callable[[], bool],
) -> str | None:
    """The router's address once clients can connect; None when there is to be none."""
    if wish.routing is None:
        return None
    router = EnvoyRouter.of(paths)
    for left in Deadline(START_SECONDS).rounds(0.1):
        report("waiting for the router")
        state = router.state()
        if state.listening:
            break
        if has_failed() or left <= 0:
            words = last_lines(router.paths.log, 4) or last_lines(paths.logs / "router.log", 4)
            message = "\n    ".join(["the router's Envoy did not start", *words])
            raise RemoteFailed(message, hint=f"less {router.paths.log}")
    return router.address


def _join_store(
    paths: NodePaths,
    known: bool,
    apart: frozenset[int],
    env: Mapping[str, str],
    report: Callable[[str], None],
) -> StoreEndpoint:
    report("waiting for the store")
    if known and (state := seaweedfs.read_state(paths)):
        return seaweedfs.wait_ready(paths, state)
    state = seaweedfs.prepare(paths, apart)
    program = store_program(paths, state, env)
    with _undone(lambda: _take_store(paths, program)):
        supervisor.put(paths, program)
        return seaweedfs.wait_ready(paths, state)


def _take_store(paths: NodePaths, program: Program) -> None:
    supervisor.take(paths, program)
    seaweedfs.stop(paths, 0.0)


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
