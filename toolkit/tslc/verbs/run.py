"""`tslc run`: serve a model on this machine, in the foreground, until told to stop.

Nothing of it stays: the archive, the server and every process of it are gone when it ends, however
it ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tslc.adapters import archiver, model_store, torchserve_process
from tslc.adapters.archive_file import open_archive, unpack
from tslc.adapters.clock import Deadline
from tslc.adapters.hugging_face_hub import download_weights
from tslc.adapters.local_server import LocalServer, local_server
from tslc.adapters.log_follower import LogFollower
from tslc.adapters.run_folder import run_folder
from tslc.adapters.source_files import exists
from tslc.adapters.stop_signals import stop_signals
from tslc.domain.archive_name import ArchiveFormat, archive_name
from tslc.domain.node import NodePaths, NodeSettings
from tslc.domain.node_files import server_environment
from tslc.domain.quick_run import quick_spec
from tslc.domain.registration import load_failed, load_late
from tslc.domain.worker_log import WorkerLine
from tslc.errors import RemoteFailed, TslcError
from tslc.verbs.build import BuildRequest, build, plan_build
from tslc.verbs.down import down
from tslc.verbs.register import register
from tslc.verbs.register_plan import ArchiveAt, RegisterPlan, plan_register
from tslc.verbs.run_plan import RunPlan, configured
from tslc.verbs.run_source import BuiltSource, FolderSource, HubSource, SpecSource
from tslc.verbs.store_trust import unchecked
from tslc.verbs.up import Wish, up

_ROUND = 0.2
_LEFTOVER_SECONDS = 1.0
_VERBOSE = "tslc run --verbose …   # shows everything the server says"


@dataclass(frozen=True)
class Ready:
    """A server that answers. `served_name` is what requests call the model; `key_file` holds
    TorchServe's keys, None where none are asked for."""

    plan: RunPlan
    served_name: str
    pid: int
    seconds: float
    key_file: Path | None = None


@dataclass(frozen=True)
class Talk:
    """Where a run tells what happens: progress, the server's own lines, that it is ready.

    `verbose`: the server's lines also while it loads.
    """

    report: Callable[[str], None]
    line: Callable[[str], None]
    ready: Callable[[Ready], None]
    verbose: bool = False


def run(plan: RunPlan, env: Mapping[str, str], talk: Talk) -> None:
    """Serve until Ctrl-C or SIGTERM, and return then.

    Raises RemoteFailed with the model's own error when it does not load, or when the server ends by
    itself, and KeyboardInterrupt when it is stopped before it is ready.
    """
    with stop_signals(), run_folder() as paths:
        spent = Deadline(math.inf)
        archive = _make_archive(plan, paths, env, talk.report)
        serve = _torchserve if plan.torchserve else _uvicorn
        with serve(plan, archive, paths, env, talk, spent) as (alive, lines):
            try:
                for _ in Deadline(math.inf).rounds(_ROUND):
                    lines.pump()
                    if not alive():
                        break
            except KeyboardInterrupt:
                talk.report("stopping")
                return
            lines.pump()
            raise RemoteFailed(f"the server of {plan.model} {plan.version} ended by itself")


class _Lines:
    """The server's logs, passed on line by line."""

    def __init__(self, talk: Talk, logs: Sequence[Path]) -> None:
        self._talk = talk
        self._logs = [LogFollower(log) for log in logs]

    def pump(self) -> None:
        for log in self._logs:
            for line in log.lines():
                self._talk.line(line)

    def report(self, text: str) -> None:
        """Progress of the load; its lines are shown to those who want them all."""
        if self._talk.verbose:
            self.pump()
        self._talk.report(text)

    def loaded(self) -> None:
        """From here on all lines are passed on; those of the load only if they were wanted."""
        for log in self._logs:
            lines = log.lines()
            for line in lines if self._talk.verbose else ():
                self._talk.line(line)


Serving = tuple[Callable[[], bool], _Lines]


@contextmanager
def _uvicorn(
    plan: RunPlan,
    archive: Path,
    paths: NodePaths,
    env: Mapping[str, str],
    talk: Talk,
    spent: Deadline,
) -> Iterator[Serving]:
    request, settings = ArchiveAt(archive), NodeSettings(name=paths.name)
    checked = plan_register(paths, settings, request, unchecked, env, talk.report)
    if checked.weights and (weights := checked.archive.manifest.weights):
        model_store.place_weights(checked.weights, paths.weights, weights.hex)
    content = paths.root / "content"
    unpack(checked.archive, content)
    lines = _Lines(talk, [paths.console])
    try:
        with local_server(
            content,
            plan.host,
            plan.port,
            url=plan.server_url,
            log=paths.console,
            env=server_environment(env, paths, None),
        ) as server:
            _wait_ready(server, checked, lines)
            lines.loaded()
            talk.ready(Ready(plan, checked.served_name, server.pid, spent.spent))
            yield lambda: not server.has_ended(), lines
    finally:
        torchserve_process.end_leftovers(paths, _LEFTOVER_SECONDS)


def _wait_ready(server: LocalServer, checked: RegisterPlan, lines: _Lines) -> None:
    named = (checked.model, checked.version)
    deadline = Deadline(checked.load.startup_seconds)
    for left in deadline.rounds(_ROUND):
        limit = f"{deadline.spent:.0f} s of at most {deadline.seconds:.0f} s"
        lines.report(f"loading {checked.model} {checked.version}: {limit}")
        if server.has_ended():
            raise RemoteFailed(load_failed(*named, _words(server)), hint=_VERBOSE)
        if server.is_ready():
            return
        if left <= 0:
            late = load_late(*named, deadline.seconds, (), _words(server))
            raise RemoteFailed(late, hint="--startup_timeout SECONDS")


def _words(server: LocalServer) -> tuple[WorkerLine, ...]:
    return tuple(WorkerLine("serve", "stdout", text) for text in server.said())


@contextmanager
def _torchserve(
    plan: RunPlan,
    archive: Path,
    paths: NodePaths,
    env: Mapping[str, str],
    talk: Talk,
    spent: Deadline,
) -> Iterator[Serving]:
    home, tokens = paths.root.parent.parent, plan.request.token_auth
    lines = _Lines(talk, [paths.worker_log, paths.server_log])
    wish = Wish(paths.name, {"inference": plan.port}, free_ports=True, token_auth=tokens)
    try:
        node = up(home, wish, env, report=lines.report)
        request = ArchiveAt(archive)
        with _without_hint():
            register(home, paths.name, request, unchecked, env, report=lines.report)
        lines.loaded()
        planned = plan_register(paths, node.settings, request, unchecked, env, lambda _: None)
        served = planned.served_name
        key_file = paths.key_file if tokens else None
        talk.ready(Ready(plan, served, node.pid or 0, spent.spent, key_file))
        yield lambda: torchserve_process.is_running(node.pid, None), lines
    finally:
        down(home, paths.name)


@contextmanager
def _without_hint() -> Iterator[None]:
    """The hints of `tslc register` name a log that is gone when they are read."""
    try:
        yield
    except TslcError as error:
        error.hint = _VERBOSE
        raise


def _make_archive(
    plan: RunPlan, paths: NodePaths, env: Mapping[str, str], report: Callable[[str], None]
) -> Path:
    """The archive to serve; made in the run's own folder, or in --model_store."""
    source = plan.source
    if isinstance(source, BuiltSource):
        return source.archive.path
    out = plan.request.model_store or paths.root / "dist"
    if isinstance(source, SpecSource):
        spec, overrides = source.path, plan.overrides()
    else:
        spec, overrides = paths.root, ()
        for name, content in quick_spec(plan.model, _final(plan, report).config).items():
            archiver.write_file(spec / name, content)
    target = out / archive_name(plan.model, plan.version, ArchiveFormat.MAR)
    request = BuildRequest(spec, plan.version, out, overrides=overrides, force=_is_archive(target))

    def progress(done: int, total: int) -> None:
        report(f"hashing weights: {done / max(total, 1):.0%}")

    report("making the archive")
    return build(plan_build(request, env), env, progress).archive


def _final(plan: RunPlan, report: Callable[[str], None]) -> RunPlan:
    match plan.source:
        case HubSource(weights, cache) as source:
            report(f"fetching {source}")
            try:
                folder = download_weights(weights, cache)
            except TslcError as error:
                error.message = f"there is no folder {plan.request.model}, and {error.message}"
                raise
            return configured(plan, folder)
        case FolderSource() | SpecSource() | BuiltSource():
            return plan


def _is_archive(target: Path) -> bool:
    """Only what tslc made itself is replaced in a --model_store."""
    if not exists(target):
        return False
    try:
        open_archive(target)
    except TslcError:
        return False
    return True
