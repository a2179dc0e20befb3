"""One page of metrics for the whole node: its workers', its router's, its agent's.

A scrape takes no longer than a few seconds, whatever hangs: who does not answer in time is left
out, and counted. The router is looked at between the scrapes too, for what it would have forgotten
by the next one.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client import Metric as Exposed

from tslc.adapters import worker_door
from tslc.adapters.agent_folder import AgentFolder
from tslc.adapters.envoy_stats import RefusalLog, read_stats
from tslc.adapters.in_time import InTime
from tslc.adapters.worker_door import Door
from tslc.domain.node import NodePaths
from tslc.domain.node_metrics.catalogue import ROUTER_REFUSED, SCRAPE_ERRORS
from tslc.domain.node_metrics.family import Metric
from tslc.domain.node_metrics.ledger import Ledger
from tslc.domain.node_metrics.of_agent import of_agent
from tslc.domain.node_metrics.of_router import REFUSALS, EnvoyStats, of_router, readings
from tslc.domain.node_metrics.of_workers import UnreadableMetrics, merged, of_worker
from tslc.domain.release.actual import Job
from tslc.domain.release.report import NodeReport
from tslc.domain.release.traffic import Traffic, traffic_of
from tslc.domain.router.settings import RouterPaths
from tslc.domain.router.table import UpstreamName
from tslc.errors import NotRunning, RemoteFailed, TslcError

HOST = "127.0.0.1"
# Between two looks at the router: what a cluster counted since the last one goes with it.
LOOK_EVERY = 2.0
_WORKER_SECONDS = 2.0
# A worker's answer may come in pieces, each of them in time.
_SCRAPE_SECONDS = 2.5


class _RouterCounts:
    """What the router counted since this began, whatever it forgot meanwhile."""

    def __init__(self, paths: RouterPaths, clock: Callable[[], float]) -> None:
        self._paths = paths
        self._clock = clock
        self._refusals = RefusalLog(paths.access_log)
        # Who reads first also counts first: an older look must not follow a newer one.
        self._lock = threading.Lock()
        self.ledger = Ledger()

    def look(self) -> EnvoyStats:
        """Raises RemoteFailed when the router does not answer."""
        with self._lock:
            now = self._clock()
            refused = Counter(self._refusals.statuses())
            for code in {*REFUSALS, *refused}:
                self.ledger.add((ROUTER_REFUSED.name, code), refused[code], now)
            stats = read_stats(self._paths.admin_socket)
            self.ledger.take(readings(stats), now)
            return stats


@dataclass(eq=False)
class NodeMetrics:
    """One node's. `report`: what the agent saw last; `away`: whether the store is."""

    paths: NodePaths
    report: Callable[[], NodeReport | None]
    away: Callable[[], bool]
    clock: Callable[[], float] = time.monotonic
    _jobs: Counter[tuple[Job, bool]] = field(default_factory=Counter)
    _errors: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    _closing: threading.Event = field(default_factory=threading.Event)
    _server: WSGIServer | None = None

    def __post_init__(self) -> None:
        self._router = _RouterCounts(RouterPaths(self.paths.router), self.clock)
        self._agent = AgentFolder(self.paths)
        self._errors["router", "", ""] = 0

    def start(self) -> None:
        """Count from now on."""
        threading.Thread(target=self._watch_router, name="metrics", daemon=True).start()

    def traffic(self) -> dict[UpstreamName, Traffic]:
        """What each version's requests came to since `start`."""
        return traffic_of(self._router.ledger.totals.items())

    def serve(self, port: int) -> None:
        """From now on, to this machine only; `close` ends it. Raises TslcError when the port is
        taken."""
        registry = CollectorRegistry()
        registry.register(self)
        try:
            self._server, _ = start_http_server(port, HOST, registry)
        except OSError as error:
            raise TslcError(
                f"the node's metrics can't be served at {HOST}:{port}: {error.strerror}",
                hint="tslc down   # then tslc up --node-metrics-port PORT",
            ) from error

    def close(self) -> None:
        self._closing.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def count_job(self, job: Job, failed: bool) -> None:
        """A job of the agent has ended."""
        self._jobs[job, failed] += 1

    # --- what a scrape finds -----------------------------------------------------------------

    def describe(self) -> list[Exposed]:
        """Nothing: a registry would ask for all of it otherwise, when it is told of this."""
        return []

    def collect(self) -> Iterator[Exposed]:
        """For prometheus_client."""
        for one in merged(self._metrics()):
            metric = Exposed(one.family.name, one.family.help, one.family.kind)
            for sample in one.samples:
                metric.add_sample(sample.name, dict(sample.labels), sample.value)
            yield metric

    def _metrics(self) -> Iterator[Metric]:
        doors = worker_door.sockets(self.paths.run)
        router = InTime([self._router.look])
        workers = InTime([partial(_ask, door) for door in doors])
        report, until = self.report(), self.clock() + _SCRAPE_SECONDS
        desired = self._agent.read_desired(report.environment) if report else None
        yield from of_agent(report, desired, self._jobs, away=self.away())
        told = workers.answers(until - self.clock())
        (stats,) = router.answers(until - self.clock())
        self._errors["router", "", ""] += stats is None
        yield from of_router(stats, self._router.ledger.totals)
        for door, metrics in zip(doors, told, strict=True):
            self._errors["worker", door.name.model, door.name.version] += metrics is None
            yield from metrics or ()
        yield SCRAPE_ERRORS.of(
            *(
                SCRAPE_ERRORS.sample(count, *labels)
                for labels, count in sorted(dict(self._errors).items())
            )
        )

    def _watch_router(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(RemoteFailed):  # the next scrape says so
                self._router.look()
            self._closing.wait(LOOK_EVERY)


def _ask(door: Door) -> tuple[Metric, ...]:
    """Nothing of one that is dead; raises RemoteFailed for one that does not say."""
    try:
        return of_worker(door.metrics(_WORKER_SECONDS), door.name)
    except NotRunning:
        return ()
    except UnreadableMetrics as error:
        raise RemoteFailed(f"the metrics of {door.name} can't be read: {error}") from error
