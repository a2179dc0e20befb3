"""The agent's loop: look, plan, begin what the plan says, tell; again.

It decides nothing: domain/release/plan.py does. Whatever it remembers lies in a file, so that it
may be killed anywhere and goes on from what it sees.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue

import tslc
from tslc.adapters.agent_folder import AgentFolder
from tslc.adapters.clock import now as wall_clock
from tslc.adapters.environment_objects import EnvironmentObjects
from tslc.adapters.envoy_router import EnvoyRouter
from tslc.adapters.memory import free_memory, held_memory, total_memory
from tslc.adapters.node_processes import end, family, started_at
from tslc.domain.node import NodePaths
from tslc.domain.release.actual import Actual, Failure, Job, RouterSeen, VersionSeen
from tslc.domain.release.plan import (
    Action,
    PublishRoutes,
    PublishUpstreams,
    Start,
    backoff,
    pause_after,
    plan,
)
from tslc.domain.release.record import AgentRecord
from tslc.domain.release.report import NodeReport, model_reports
from tslc.domain.release.shares import share_text, shares_of
from tslc.domain.release.state import EnvironmentState, Strategy
from tslc.domain.release.turns import waits_for
from tslc.domain.router.table import ApiKey, RouterTable, UpstreamName
from tslc.domain.settings import Settings
from tslc.errors import NotRunning, RemoteFailed, TslcError
from tslc.verbs.agent.jobs import Done, Jobs
from tslc.verbs.agent.metrics import NodeMetrics
from tslc.verbs.agent.observe import Observer
from tslc.verbs.agent.watch_store import StoreWatch
from tslc.verbs.running_node import open_node
from tslc.verbs.store_access import open_store

TICK_SECONDS = 1.0
# What was seen of the workers holds so long, so that a wish of the store's is carried out at once.
_FRESH_SECONDS = 0.5
# What follows soon: Envoy takes a file within milliseconds.
_SOON_SECONDS = 0.05
_MEMORY_EVERY = 15.0
# TorchServe may be about to start a worker that nobody has seen yet.
_FIRST_LOOK_SECONDS = 5.0
_FAREWELL_SECONDS = 3.0
_LARGEST_ACCESS_LOG = 50_000_000
# No key has this digest.
NOBODY = ApiKey("nobody", "0" * 64)


@dataclass(frozen=True)
class AgentWish:
    """What `tslc agent` was told. `node_id`: what the node is called in the store; `metrics_port`
    None: no metrics are served."""

    home: Path
    node_name: str
    node_id: str
    environment: str
    settings: Settings
    environ: Mapping[str, str]
    poll_seconds: float = 1.0
    metrics_port: int | None = None
    say: Callable[[str], None] = lambda _: None


@dataclass(frozen=True)
class _Outcome:
    job: Job
    name: UpstreamName
    done: Done | None = None
    failure: str = ""
    bug: BaseException | None = None


@dataclass
class Agent:
    """One node's. `run` returns when `stop` was called."""

    wish: AgentWish
    paths: NodePaths
    router: EnvoyRouter
    clock: Callable[[], float] = time.monotonic
    _wake: threading.Event = field(default_factory=threading.Event)
    _stopping: bool = False
    _jobs: dict[UpstreamName, Job] = field(default_factory=dict)
    _heals: dict[UpstreamName, int] = field(default_factory=dict)
    _failures: dict[UpstreamName, Failure] = field(default_factory=dict)
    _grace: dict[UpstreamName, float] = field(default_factory=dict)
    _outcomes: SimpleQueue[_Outcome] = field(default_factory=SimpleQueue)
    _versions: dict[UpstreamName, VersionSeen] = field(default_factory=dict)
    _memory: dict[UpstreamName, int] = field(default_factory=dict)
    _memory_at: float = float("-inf")
    _generation: int = -1
    _young: set[int] = field(default_factory=set)
    _strays: set[int] = field(default_factory=set)
    _looked_at: float = float("-inf")
    _torchserve: bool = False
    _torchserve_problem: str = ""
    _metrics_problem: str = ""
    _quiet_since: float | None = None
    _problems: list[str] = field(default_factory=list)
    _said: tuple[str, ...] = ()
    _report: NodeReport | None = None

    def __post_init__(self) -> None:
        wish = self.wish
        self.folder = AgentFolder(self.paths)
        self.record = self.folder.read_record()
        self.started = wall_clock().isoformat(timespec="seconds")
        self.observer = Observer(self.paths, self.clock, self._wake.set)
        self.jobs = Jobs(
            *(wish.home, wish.node_name, self.paths, wish.settings, wish.environ),
            report=lambda name, text: None,
        )
        self.metrics = NodeMetrics(
            self.paths, report=lambda: self._report, away=lambda: bool(self.store.seen.away)
        )
        self.store = StoreWatch(
            self._objects,
            self.folder,
            wish.environment,
            wish.poll_seconds,
            self.clock,
            self._wake.set,
        )

    def _objects(self) -> EnvironmentObjects:
        store = open_store(self.wish.settings, self.paths, impatient=True)
        return EnvironmentObjects(store, self.wish.environment)

    @property
    def report(self) -> NodeReport | None:
        """What was last seen."""
        return self._report

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()

    def run(self) -> None:
        """Until `stop`; raises what is a bug."""
        with self.folder.owned():
            self._serve_metrics()
            self.store.start()
            try:
                while not self._stopping:
                    soon = self.tick()
                    self._wake.wait(_SOON_SECONDS if soon else TICK_SECONDS)
                    self._wake.clear()
            finally:
                farewell = replace(self._report, stopped=True) if self._report else None
                self.store.stop(farewell, _FAREWELL_SECONDS)

    def _serve_metrics(self) -> None:
        """Without metrics a node is still a node: that they are missing is told."""
        try:
            if self.wish.metrics_port is not None:
                self.metrics.serve(self.wish.metrics_port)
        except TslcError as error:
            self._metrics_problem = f"no metrics: {error.message} ({error.hint})"

    def tick(self) -> bool:
        """One round; whether the next one should follow at once."""
        self._problems = []
        self._take_outcomes()
        now = self.clock()
        desired = self.store.seen.state
        self._heed(desired)
        actual = self._look(desired, now)
        actions: tuple[Action, ...] = ()
        if desired is not None:
            actions = plan(self._guarded(desired), actual, now, pinning=self._pinning)
            for action in actions:
                self._begin(action)
            self._tell(desired, actual, now)
        return any(not isinstance(action, Start) for action in actions)

    def _heed(self, desired: EnvironmentState | None) -> None:
        """Who asks again does not wait for the pause after an earlier failure."""
        generation = desired.generation if desired else 0
        if generation != self._generation:
            self._generation = generation
            self._failures.clear()

    @property
    def _pinning(self) -> bool:
        return self.wish.settings.environment(self.wish.environment).allow_version_header

    def _guarded(self, desired: EnvironmentState) -> EnvironmentState:
        """Beyond this machine nobody is let in while there is no API key."""
        if desired.keys or not self.router.settings.needs_keys:
            return desired
        self._problems.append(
            f"the router listens on {self.router.settings.host} and there is no API key: nobody is "
            "let in (tslc keys create NAME)"
        )
        return replace(desired, keys=(NOBODY,))

    # --- look --------------------------------------------------------------------------------

    def _look(self, desired: EnvironmentState | None, now: float) -> Actual:
        seen = self.store.seen
        if seen.away:
            self._problems.append(f"the store is away: {seen.away}")
        if seen.bad_state:
            self._problems.append(seen.bad_state)
        if now - self._looked_at >= _FRESH_SECONDS:
            self._torchserve_problem = ""
            self._torchserve = self._look_at_versions()
            self._looked_at = self.clock()
            self._end_strays()
        torchserve = self._torchserve
        self._problems += [one for one in (self._torchserve_problem, self._metrics_problem) if one]
        for name, one in self._versions.items():
            if one.serving:
                self._grace.pop(name, None)
                self._heals.pop(name, None)
                self._failures.pop(name, None)
            else:
                self._let_be(name, one, now)
        bridge_key = None
        if torchserve and any(one.bridge for one in self._versions.values()):
            bridge_key = self._bridge_key()
        router = self._look_at_router(now)
        return Actual(
            versions=self._versions,
            router=router,
            jobs=dict(self._jobs),
            failures=dict(self._failures),
            grace=dict(self._grace),
            turn=self._turn(desired),
            torchserve=torchserve,
            bridge_key=bridge_key,
        )

    def _let_be(self, name: UpstreamName, one: VersionSeen, now: float) -> None:
        """A version that does not serve is waited for while a new worker of it loads, whoever
        started that; of one nobody has seen before it is not known yet."""
        new = {worker.pid for worker in one.workers if not worker.proven} - self._young
        if new:
            self._young |= new
            self._grace[name] = max(self._grace.get(name, 0.0), now + self.jobs.deadline(name))
        elif name not in self._grace and not self._was_proven(name):
            self._grace[name] = now + _FIRST_LOOK_SECONDS

    def _was_proven(self, name: UpstreamName) -> bool:
        """Whether a worker of it served before: then a missing one is dead, not late."""
        gone = f"{name.model}@{name.version}@"
        return any(key.startswith(gone) for key in self.record.proven)

    def _look_at_versions(self) -> bool:
        """Whether TorchServe answers. When it does not, its workers are those still alive."""
        try:
            node = open_node(self.wish.home, self.wish.node_name)
            self._versions = self.observer.look(node.api, self.record)
        except RemoteFailed as error:
            self._torchserve_problem = error.message
            alive = not isinstance(error, NotRunning)
            self._versions = {
                name: replace(
                    one, workers=tuple(w for w in one.workers if started_at(w.pid) is not None)
                )
                for name, one in self._versions.items()
                if alive or any(started_at(w.pid) is not None for w in one.workers)
            }
            return False
        return True

    def _end_strays(self) -> None:
        """Seen twice, so that it is no worker that TorchServe is just about to name."""
        strays, self.observer.strays = self.observer.strays, set()
        if sure := strays & self._strays:
            self._say(f"ending workers that TorchServe has forgotten: {sorted(sure)}")
            end(family(sure), 2.0)
        self._strays = strays

    def _bridge_key(self) -> str | None:
        try:
            return open_node(self.wish.home, self.wish.node_name).api.inference_key()
        except RemoteFailed as error:
            self._problems.append(error.message)
            return self.record.table.bridge_key

    def _look_at_router(self, now: float) -> RouterSeen:
        """Also how many requests are on archives that are not ours: their workers don't say."""
        state = self.router.state()
        taken = state.routes_taken
        self._quiet_since = (self._quiet_since or now) if taken else None
        if not state.reachable:
            self._problems.append(f"the router does not answer: {state.problem}")
        elif state.problem:
            self._problems.append(f"the router refused its configuration: {state.problem}")
        self._versions = {
            name: replace(one, in_flight=state.active_requests(name)) if one.bridge else one
            for name, one in self._versions.items()
        }
        return RouterSeen(
            table=self.record.table,
            reachable=state.reachable,
            upstreams_taken=state.upstreams_taken,
            routes_taken=taken,
            quiet_since=self._quiet_since or now,
            active=state.active,
            problem=state.problem,
        )

    def _turn(self, desired: EnvironmentState | None) -> frozenset[str]:
        models = desired.models if desired else {}
        recreate = [name for name, one in models.items() if one.strategy is Strategy.RECREATE]
        self.store.peers_wanted = bool(recreate)
        if desired is None or not recreate or not self.store.peers_known:
            return frozenset()
        free = []
        for model in recreate:
            peers = self.store.seen.peers
            first = waits_for(self.wish.node_id, model, desired.generation, peers)
            if first is None:
                free.append(model)
            else:
                self._problems.append(f"{model}: it is {first}'s turn to be replaced")
        return frozenset(free)

    # --- act ---------------------------------------------------------------------------------

    def _begin(self, action: Action) -> None:
        match action:
            case PublishUpstreams(table):
                self.router.publish_upstreams(table)
                self._remember(replace(self.record, table=table))
            case PublishRoutes(table):
                self._quiet_since = None
                self.router.publish_routes(table)
                self._remember(replace(self.record, table=table))
                self._say(split_text(table))
            case Start(job, name):
                self._start(job, name)

    def _start(self, job: Job, name: UpstreamName) -> None:
        self._jobs[name] = job
        self._say(f"{name.model} {name.version}: {job.value}")
        if job is Job.HEAL:
            self._heals[name] = self._heals.get(name, 0) + 1
        thread = threading.Thread(target=self._run, args=(job, name), daemon=True)
        thread.start()

    def _run(self, job: Job, name: UpstreamName) -> None:
        try:
            outcome = _Outcome(
                job, name, self.jobs.run(job, name, managed=name in self.record.managed)
            )
        except TslcError as error:
            outcome = _Outcome(job, name, failure=error.message)
        except BaseException as bug:  # noqa: BLE001 - raised again where the agent ends by it
            outcome = _Outcome(job, name, bug=bug)
        self._outcomes.put(outcome)
        self._wake.set()

    def _take_outcomes(self) -> None:
        while not self._outcomes.empty():
            outcome = self._outcomes.get()
            self._looked_at = float("-inf")
            if outcome.bug is not None:
                raise outcome.bug
            name, job = outcome.name, outcome.job
            self.metrics.count_job(job, outcome.done is None)
            self._jobs.pop(name, None)
            if outcome.done is None:
                self._failures[name] = backoff(
                    self._failures.get(name), job, outcome.failure, self.clock()
                )
                self._say(f"{name.model} {name.version}: {job.value} failed: {outcome.failure}")
            else:
                self._failures.pop(name, None)
                self._take_done(name, outcome.done)

    def _take_done(self, name: UpstreamName, done: Done) -> None:
        if done.unloaded:
            self._grace.pop(name, None)
            self._remember(self.record.without(name))
            return
        record = self.record.with_proven(done.proven)
        if done.managed:
            record = record.with_managed(name)
        if record != self.record:
            self._remember(record)
        if done.grace:
            # The first restart is at once; one that did not help is waited for longer.
            in_vain = max(0, self._heals.get(name, 1) - 1)
            self._grace[name] = self.clock() + done.grace + pause_after(in_vain)

    def _remember(self, record: AgentRecord) -> None:
        self.record = record
        self.folder.write_record(record)

    # --- tell --------------------------------------------------------------------------------

    def _tell(self, desired: EnvironmentState, actual: Actual, now: float) -> None:
        if now - self._memory_at >= _MEMORY_EVERY:
            self._memory_at = now
            self._rotate_access_log()
            self._memory = {
                name: held_memory(worker.pid for worker in one.workers)
                for name, one in actual.versions.items()
                if one.serving
            }
        models = model_reports(desired, actual, self._memory)
        self._report = NodeReport(
            node=self.wish.node_id,
            environment=self.wish.environment,
            generation=desired.generation,
            tslc=tslc.__version__,
            started=self.started,
            routed=actual.router.reachable and actual.router.routes_taken,
            router=self.router.address,
            memory_total=total_memory(),
            memory_free=free_memory(),
            models=models,
            problems=tuple(self._problems),
        )
        self.store.tell(self._report)
        for problem in self._problems:
            if problem not in self._said:
                self._say(problem)
        self._said = tuple(self._problems)

    def _rotate_access_log(self) -> None:
        try:
            self.router.rotate_access_log(_LARGEST_ACCESS_LOG)
        except RemoteFailed as error:
            self._problems.append(error.message)

    def _say(self, text: str) -> None:
        self.wish.say(text)


def split_text(table: RouterTable) -> str:
    """`m: 1.0.0 90%, 1.1.0 10%` of every model."""
    models = []
    for one in table.models:
        shares = shares_of(one.segments).items()
        said = ", ".join(f"{version} {share_text(share)}" for version, share in shares)
        models.append(f"{one.model}: {said or 'no version is ready'}")
    return "; ".join(["routes", *models]) if models else "routes: none"
