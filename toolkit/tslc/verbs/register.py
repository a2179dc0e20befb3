"""`tslc register`: load a version, and keep it only if it really answers its golden prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import assert_never

from tslc.adapters import model_store, node_folder, worker_door
from tslc.adapters.archive_file import open_archive
from tslc.adapters.clock import Deadline, wait_until
from tslc.adapters.node_processes import family, is_alive
from tslc.adapters.stop_signals import uninterrupted
from tslc.adapters.worker_door import Door
from tslc.adapters.worker_log import LogMark
from tslc.domain.loading import Seen, Step, next_step
from tslc.domain.registration import PromptResult, load_failed, load_late, prompts_failed
from tslc.domain.served import ServedVersion
from tslc.domain.settings import Settings
from tslc.domain.store_layout import WEIGHTS
from tslc.domain.store_manifest import Kind, StoreManifest
from tslc.domain.trust import Check
from tslc.domain.worker_log import WorkerLine, has_said_all, lines_of, server_saw_death, worker_died
from tslc.errors import NotRunning, Refused, RemoteFailed, TslcError
from tslc.verbs.prove import prove
from tslc.verbs.pull import pull
from tslc.verbs.register_plan import (
    ArchiveAt,
    RegisterPlan,
    Report,
    Request,
    plan_register,
    stored_steps,
)
from tslc.verbs.running_node import RunningNode, open_node, served_versions
from tslc.verbs.store_access import open_cache, open_store, read_manifest
from tslc.verbs.store_trust import checker
from tslc.verbs.unregister import take_off

_ROUND = 0.2
_READY_SECONDS = 30.0
_UNANSWERED_SECONDS = 10.0
_LAST_WORDS_SECONDS = 5.0


@dataclass(frozen=True)
class Registered:
    """`already`: it was there before, the same archive. `trust`: why the environment takes it.
    In a dry run only `plan` and `trust` are filled."""

    model: str
    version: str
    default: bool = False
    already: bool = False
    trust: str = ""
    seconds: float = 0.0
    prompts: tuple[PromptResult, ...] = ()
    plan: tuple[str, ...] = ()


def register(
    home: Path,
    node_name: str,
    request: Request,
    check: Check,
    env: Mapping[str, str],
    *,
    dry_run: bool = False,
    report: Report = lambda _: None,
) -> Registered:
    """Register a version that is at hand, and wait until it answers.

    Raises what `plan_register` raises; Refused when other content is registered under that version
    or a golden prompt fails; RemoteFailed with the worker's own error when it does not load. A
    version that fails is unregistered, and what was put into the node for it goes.
    """
    node = open_node(home, node_name)
    return _register(node, request, check, env, dry_run=dry_run, report=report)


def register_stored(
    home: Path,
    node_name: str,
    model: str,
    version: str,
    settings: Settings,
    env: Mapping[str, str],
    *,
    dry_run: bool = False,
    report: Report = lambda _: None,
) -> Registered:
    """Register a version of the store; raises what `pull` and `register` raise."""
    node, check = open_node(home, node_name), checker(settings)
    store, cache = open_store(settings, node.paths), open_cache(settings)
    _expect_ours(read_manifest(store, model, version))

    def progress(done: int, total: int) -> None:
        report(f"pulling {model} {version}: {done / max(total, 1):.0%}")

    with node_folder.scratch(node.paths) as scratch:
        pulled = pull(
            store,
            cache,
            model,
            version,
            scratch,
            check=check,
            dry_run=dry_run,
            progress=progress,
        )
        if dry_run:
            fetched, cached = pulled.fetched_bytes, pulled.cached_bytes
            fetch = f"fetch {fetched} bytes from {store.address}; {cached} are in the cache"
            steps = stored_steps(model, version, fetch, node.paths)
            return Registered(model, version, trust=pulled.trust, plan=steps)
        request = ArchiveAt(pulled.archive, pulled.folder / WEIGHTS)
        return _register(node, request, check, env, dry_run=False, report=report)


def _register(
    node: RunningNode,
    request: Request,
    check: Check,
    env: Mapping[str, str],
    *,
    dry_run: bool,
    report: Report,
) -> Registered:
    plan = plan_register(node.paths, node.settings, request, check, env, report)
    if dry_run:
        steps = plan.steps(node.paths)
        planned = Registered(plan.model, plan.version, trust=plan.trust, plan=steps)
        return _existing(node, plan) or planned
    with node_folder.version_locked(node.paths, plan.model, plan.version):
        return _existing(node, plan) or _Registration(node, plan, report).carry_out()


def _expect_ours(manifest: StoreManifest) -> None:
    if manifest.kind is Kind.FOREIGN:
        named = f"{manifest.model} {manifest.version}"
        raise Refused(
            f"{named} is an archive that others built: it has no golden prompts to be proven by",
            hint=f"tslc pull {named}, and register it with TorchServe's own management API",
        )


def _existing(node: RunningNode, plan: RegisterPlan) -> Registered | None:
    named = f"{plan.model} {plan.version}"
    for one in served_versions(node, plan.model):
        if one.version != plan.version:
            continue
        there = node.paths.model_store / Path(one.archive).name
        if open_archive(there).manifest.digest != plan.archive.manifest.digest:
            raise Refused(
                f"{named} is registered already, with other content",
                hint="tslc build … --version ANOTHER   # a version never changes",
            )
        if not one.ready and _is_loading(node, one):
            raise RemoteFailed(
                f"{named} is registered already, and still loading: {one.why_not}",
                hint="tslc status   # until it is ready",
            )
        if not one.ready:
            raise RemoteFailed(
                f"{named} is registered already, but not ready: {one.why_not}",
                hint=f"tslc unregister {named} && tslc register {named}",
            )
        return Registered(plan.model, plan.version, one.default, already=True, trust=plan.trust)
    return None


def _is_loading(node: RunningNode, one: ServedVersion) -> bool:
    """Whether a worker of it lives that has not opened its door yet."""
    doors = {door.pid for door in one.doors}
    described = [d for d in node.api.versions(one.model) if d.version == one.version]
    return any(is_alive(pid) for d in described for pid in d.pids if pid not in doors)


@dataclass
class _Registration:
    """One load: what it watches, and how it is undone.

    `placed` and `linked` are what it put into the node; `asked`: TorchServe may have the version
    from it; `answered`: TorchServe said so.
    """

    node: RunningNode
    plan: RegisterPlan
    report: Callable[[str], None]
    waited: Deadline = field(init=False)
    worker_mark: LogMark = field(init=False)
    server_mark: LogMark = field(init=False)
    placed: Path | None = None
    linked: Path | None = None
    asked: bool = False
    answered: bool = False

    def __post_init__(self) -> None:
        self.waited = Deadline(self.plan.load.deadline)
        self.worker_mark = LogMark.at_end(self.node.paths.worker_log)
        self.server_mark = LogMark.at_end(self.node.paths.server_log)

    def carry_out(self) -> Registered:
        plan = self.plan
        try:
            self._place()
            self._ask_for_it()
            prompts, served = plan.prompts, plan.served_name
            results = prove(self._wait(), prompts, served, self.report)
            if not all(result.passed for result in results):
                raise Refused(prompts_failed(plan.model, plan.version, results))
        except BaseException as error:
            # Also when it is interrupted: a version that was not proven does not stay.
            with uninterrupted():
                self._undo(error)
            raise
        default = self.node.api.default_version(plan.model) == plan.version
        return Registered(
            plan.model,
            plan.version,
            default,
            trust=plan.trust,
            seconds=self.waited.spent,
            prompts=results,
        )

    def _place(self) -> None:
        with node_folder.content_locked(self.node.paths):
            self._place_files()

    def _place_files(self) -> None:
        plan, paths = self.plan, self.node.paths
        if not plan.in_store:
            self.placed = model_store.place(plan.archive, paths.model_store, plan.file_name)
        if plan.weights and (weights := plan.archive.manifest.weights):
            put = model_store.take_weights if plan.own_weights else model_store.place_weights
            self.linked = put(plan.weights, paths.weights, weights.hex)

    def _ask_for_it(self) -> None:
        self.report(f"registering {self.plan.model} {self.plan.version}")
        self.asked = True
        try:
            self.node.api.register(self.plan.file_name, self.plan.load.deadline)
        except Refused:
            # There is such a version, of somebody else's: it and what it was made from stay.
            self.asked, self.placed, self.linked = False, None, None
            raise
        self.answered = True

    def _wait(self) -> tuple[Door, ...]:
        named = f"{self.plan.model} {self.plan.version}"
        limit = self.plan.load.deadline
        reasons: Sequence[str] = ()
        for left in self.waited.rounds(_ROUND):
            self.report(f"loading {named}: {self.waited.spent:.0f} s of at most {limit:.0f} s")
            doors, reasons = self._ready_doors()
            seen = Seen(self.plan.load.workers, len(doors), self._died())
            match next_step(seen, left):
                case Step.WAIT:
                    continue
                case Step.TRY_PROMPTS:
                    return doors
                case Step.GIVE_UP_DEAD:
                    wait_until(self._has_said_all, _LAST_WORDS_SECONDS)
                    raise self._failure(load_failed(*self._version, self._lines()))
                case Step.GIVE_UP_LATE:
                    late = load_late(*self._version, limit, reasons, self._lines())
                    raise self._failure(late)
                case other:
                    assert_never(other)
        raise AssertionError("the last round decides")

    @property
    def _version(self) -> tuple[str, str]:
        return self.plan.model, self.plan.version

    def _ready_doors(self) -> tuple[tuple[Door, ...], tuple[str, ...]]:
        """The doors that are ready, and what the others say."""
        doors = worker_door.doors_of(self.node.paths.run, *self._version)
        reports = worker_door.probe(doors, _READY_SECONDS)
        ready = tuple(door for door in doors if reports[door.name].ready)
        return ready, tuple(one.reason for one in reports.values() if not one.ready)

    def _lines(self) -> tuple[WorkerLine, ...]:
        return lines_of(self.worker_mark.since(), *self._version)

    def _has_said_all(self) -> bool:
        return has_said_all(self.server_mark.since(), *self._version)

    def _died(self) -> bool:
        if worker_died(self._lines()) or server_saw_death(self.server_mark.since(), *self._version):
            return True
        versions = self.node.api.versions(self.plan.model)
        pids = [pid for one in versions if one.version == self.plan.version for pid in one.pids]
        return any(not is_alive(pid) for pid in pids)

    def _failure(self, message: str) -> TslcError:
        return RemoteFailed(message, hint=f"less {self.node.paths.worker_log}")

    def _undo(self, cause: BaseException) -> None:
        """What can't be undone is told with the cause, which stays what it is."""
        self.report(f"unregistering {self.plan.model} {self.plan.version}")
        failed: list[str] = []
        for step in (self._remove_archive, self._take_off, self._remove_weights):
            try:
                step()
            except NotRunning:
                continue  # TorchServe is gone, and the version with it
            except TslcError as error:
                failed.append(error.message)
        if not failed:
            return
        if isinstance(cause, TslcError):
            cause.message = "\n".join([cause.message, *failed])
        else:
            what = f"registering {self.plan.model} {self.plan.version} was interrupted"
            raise RemoteFailed("\n".join([what, *failed]), hint="tslc status") from cause

    def _remove_archive(self) -> None:
        if self.placed is not None:
            model_store.remove(self.placed)

    def _take_off(self) -> None:
        """Unregistering at once also ends TorchServe's attempts to start the worker again."""
        if not self.asked:
            return
        # What TorchServe did not answer, it may still be doing.
        for _ in Deadline(0.0 if self.answered else _UNANSWERED_SECONDS).rounds(_ROUND):
            for one in self.node.api.versions(self.plan.model):
                if one.version == self.plan.version:
                    take_off(self.node, one, family(one.pids))
                    return

    def _remove_weights(self) -> None:
        """Unless another archive of the node names them, too."""
        store = self.node.paths.model_store
        with node_folder.content_locked(self.node.paths):
            if self.linked and not model_store.names_weights(store, self.linked.name):
                model_store.remove(self.linked)
