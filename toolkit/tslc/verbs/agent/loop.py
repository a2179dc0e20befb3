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

import tslc
from tslc.adapters.agent_folder import AgentFolder, KeptRecord
from tslc.adapters.clock import now as wall_clock
from tslc.adapters.environment_objects import EnvironmentObjects
from tslc.adapters.envoy_router import EnvoyRouter
from tslc.adapters.memory import free_memory, held_memory, total_memory
from tslc.domain.node import NodePaths
from tslc.domain.release.actual import Actual
from tslc.domain.release.plan import Action, PublishRoutes, PublishUpstreams, Start, plan
from tslc.domain.release.report import NodeReport, model_reports
from tslc.domain.release.shares import share_text, shares_of
from tslc.domain.release.state import EnvironmentState, Strategy
from tslc.domain.release.turns import waits_for
from tslc.domain.router.table import ApiKey, RouterTable, UpstreamName
from tslc.domain.settings import Settings
from tslc.errors import RemoteFailed, TslcError
from tslc.verbs.agent.jobs import Jobs
from tslc.verbs.agent.look import NodeLook
from tslc.verbs.agent.metrics import NodeMetrics
from tslc.verbs.agent.observe import Observer
from tslc.verbs.agent.running_jobs import RunningJobs
from tslc.verbs.agent.watch_store import StoreWatch
from tslc.verbs.store_access import open_store

TICK_SECONDS = 1.0
# What follows soon: Envoy takes a file within milliseconds.
_SOON_SECONDS = 0.05
_MEMORY_EVERY = 15.0
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


@dataclass
class Agent:
    """One node's. `run` returns when `stop` was called."""

    wish: AgentWish
    paths: NodePaths
    router: EnvoyRouter
    clock: Callable[[], float] = time.monotonic
    _wake: threading.Event = field(default_factory=threading.Event)
    _stopping: bool = False
    _memory: dict[UpstreamName, int] = field(default_factory=dict)
    _memory_at: float = float("-inf")
    _generation: int = -1
    _metrics_problem: str = ""
    _problems: list[str] = field(default_factory=list)
    _said: tuple[str, ...] = ()
    _report: NodeReport | None = None

    def __post_init__(self) -> None:
        wish, clock, wake = self.wish, self.clock, self._wake.set
        self.folder = AgentFolder(self.paths)
        self.kept = KeptRecord(self.folder)
        self.started = wall_clock().isoformat(timespec="seconds")
        self.metrics = NodeMetrics(
            self.paths, report=lambda: self._report, away=lambda: bool(self.store.seen.away)
        )
        jobs = Jobs(
            *(wish.home, wish.node_name, self.paths, wish.settings, wish.environ),
            report=lambda name, text: None,
        )
        self.running = RunningJobs(
            *(jobs, self.kept, clock, wish.say, wake), ended=self.metrics.count_job
        )
        observer = Observer(self.paths, clock, wake)
        self.node = NodeLook(
            *(wish.home, wish.node_name, self.router, observer, self.kept, clock, wish.say)
        )
        self.store = StoreWatch(
            *(self._objects, self.folder, wish.environment, wish.poll_seconds, clock, wake)
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
            self.metrics.start()
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
        if self.running.take_outcomes():
            self.node.expire()
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
            self.running.failures.clear()

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
        seen, node, running = self.store.seen, self.node, self.running
        if seen.away:
            self._problems.append(f"the store is away: {seen.away}")
        if seen.bad_state:
            self._problems.append(seen.bad_state)
        node.look(now)
        running.heed(node.versions, now)
        bridge_key = node.bridge_key()
        router = node.at_router(now)
        self._problems += node.problems
        if self._metrics_problem:
            self._problems.append(self._metrics_problem)
        return Actual(
            versions=node.versions,
            router=router,
            jobs=dict(running.begun),
            failures=dict(running.failures),
            grace=dict(running.grace),
            turn=self._turn(desired),
            torchserve=node.torchserve,
            bridge_key=bridge_key,
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
                self.kept.keep(replace(self.kept.record, table=table))
            case PublishRoutes(table):
                self.node.routes_change()
                self.router.publish_routes(table)
                self.kept.keep(replace(self.kept.record, table=table))
                self.wish.say(split_text(table))
            case Start(job, name):
                self.running.start(job, name)

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
        models = model_reports(desired, actual, self._memory, self.metrics.traffic())
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
                self.wish.say(problem)
        self._said = tuple(self._problems)

    def _rotate_access_log(self) -> None:
        try:
            self.router.rotate_access_log(_LARGEST_ACCESS_LOG)
        except RemoteFailed as error:
            self._problems.append(error.message)


def split_text(table: RouterTable) -> str:
    """`m: 1.0.0 90%, 1.1.0 10%` of every model."""
    models = []
    for one in table.models:
        shares = shares_of(one.segments).items()
        said = ", ".join(f"{version} {share_text(share)}" for version, share in shares)
        models.append(f"{one.model}: {said or 'no version is ready'}")
    return "; ".join(["routes", *models]) if models else "routes: none"
