"""`tslc register`: load a version, and keep it only if it really answers its golden prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import assert_never

from tslc.adapters import model_store, worker_door
from tslc.adapters.archive_file import open_archive
from tslc.adapters.clock import Deadline
from tslc.adapters.node_processes import family, is_alive
from tslc.adapters.worker_door import Door
from tslc.adapters.worker_log import LogMark
from tslc.domain.golden import GoldenPrompt, judge
from tslc.domain.loading import Seen, Step, next_step
from tslc.domain.registration import PromptResult, load_failed, load_late, prompts_failed
from tslc.domain.worker_log import WorkerLine, lines_of, server_saw_death, worker_died
from tslc.errors import Refused, RemoteFailed, TslcError
from tslc.verbs.register_plan import RegisterPlan, Report, Request, plan_register
from tslc.verbs.running_node import RunningNode, open_node, served_versions
from tslc.verbs.unregister import take_off

_ROUND = 0.2
_READY_SECONDS = 30.0
_PROMPT_SECONDS = 300.0


@dataclass(frozen=True)
class Registered:
    """`already`: it was there before, the same archive. In a dry run only `plan` is filled."""

    model: str
    version: str
    default: bool = False
    already: bool = False
    seconds: float = 0.0
    prompts: tuple[PromptResult, ...] = ()
    plan: tuple[str, ...] = ()


def register(
    home: Path,
    node_name: str,
    request: Request,
    env: Mapping[str, str],
    *,
    dry_run: bool = False,
    report: Report = lambda _: None,
) -> Registered:
    """Register a version and wait until it answers.

    Raises what `plan_register` raises; Refused when other content is registered under that version
    or a golden prompt fails; RemoteFailed with the worker's own error when it does not load. A
    version that fails is unregistered, and what was put into the node for it goes.
    """
    node = open_node(home, node_name)
    plan = plan_register(node.paths, node.settings, request, env, report)
    if existing := _existing(node, plan):
        return existing
    if dry_run:
        return Registered(plan.model, plan.version, plan=plan.steps(node.paths))
    return _Registration(node, plan, report).carry_out()


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
        if not one.ready:
            raise RemoteFailed(
                f"{named} is registered already, but not ready: {one.why_not}",
                hint=f"tslc unregister {named} && tslc register {named}",
            )
        return Registered(plan.model, plan.version, one.default, already=True)
    return None


@dataclass
class _Registration:
    """One load: what it watches, and how it is undone."""

    node: RunningNode
    plan: RegisterPlan
    report: Callable[[str], None]
    waited: Deadline = field(init=False)
    worker_mark: LogMark = field(init=False)
    server_mark: LogMark = field(init=False)

    def __post_init__(self) -> None:
        self.waited = Deadline(self.plan.load.deadline)
        self.worker_mark = LogMark.at_end(self.node.paths.worker_log)
        self.server_mark = LogMark.at_end(self.node.paths.server_log)

    def carry_out(self) -> Registered:
        plan, store = self.plan, self.node.paths.model_store
        target = model_store.place(plan.archive, store, plan.file_name)
        if plan.weights and (weights := plan.archive.manifest.weights):
            model_store.place_weights(plan.weights, self.node.paths.weights, weights.hex)
        kept = False
        try:
            self.report(f"registering {plan.model} {plan.version}")
            self.node.api.register(target.name, plan.load.deadline)
            results = self._prompts(self._wait())
            if not all(result.passed for result in results):
                raise Refused(prompts_failed(plan.model, plan.version, results))
            kept = True
        finally:
            # Also when it is interrupted: a version that was not proven does not stay.
            if not kept:
                self._undo(None if plan.in_store else target)
        default = self.node.api.default_version(plan.model) == plan.version
        return Registered(
            plan.model, plan.version, default, seconds=self.waited.spent, prompts=results
        )

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
                    self.worker_mark.settle()
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

    def _died(self) -> bool:
        if worker_died(self._lines()) or server_saw_death(self.server_mark.since(), *self._version):
            return True
        versions = self.node.api.versions(self.plan.model)
        pids = [pid for one in versions if one.version == self.plan.version for pid in one.pids]
        return any(not is_alive(pid) for pid in pids)

    def _failure(self, message: str) -> TslcError:
        return RemoteFailed(message, hint=f"less {self.node.paths.worker_log}")

    def _prompts(self, doors: Sequence[Door]) -> tuple[PromptResult, ...]:
        """Each prompt at each worker."""
        results = []
        for door in doors:
            for number, prompt in enumerate(self.plan.prompts, 1):
                self.report(f"golden prompt {number} of {len(self.plan.prompts)}: {prompt.name}")
                results.append(self._ask(door, prompt))
        return tuple(results)

    def _ask(self, door: Door, prompt: GoldenPrompt) -> PromptResult:
        seconds = (prompt.expect.within_seconds or 0.0) + _PROMPT_SECONDS
        try:
            reply = door.request(prompt.path, prompt.body(self.plan.served_name), seconds)
        except RemoteFailed as error:
            return PromptResult(prompt.name, (error.message,), seconds)
        reasons = judge(prompt, reply.status, reply.body, reply.seconds)
        return PromptResult(prompt.name, reasons, reply.seconds)

    def _undo(self, placed: Path | None) -> None:
        """Unregistering at once also ends TorchServe's attempts to start the worker again."""
        self.report(f"unregistering {self.plan.model} {self.plan.version}")
        if placed is not None:
            model_store.remove(placed)
        for one in self.node.api.versions(self.plan.model):
            if one.version == self.plan.version:
                take_off(self.node, one, family(one.pids))
