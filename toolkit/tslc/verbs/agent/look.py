"""What is on a node now: its versions and workers, the requests on them, what the router took."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from tslc.adapters.agent_folder import KeptRecord
from tslc.adapters.envoy_router import EnvoyRouter
from tslc.adapters.node_processes import end, family, started_at
from tslc.domain.release.actual import RouterSeen, VersionSeen
from tslc.domain.router.table import UpstreamName
from tslc.errors import NotRunning, RemoteFailed
from tslc.verbs.agent.observe import Observer
from tslc.verbs.running_node import open_node

# What was seen of the workers holds so long, so that a wish of the store's is carried out at once.
_FRESH_SECONDS = 0.5


@dataclass
class NodeLook:
    """Looked at once a round. `torchserve`: whether it answered; `problems`: what was wrong with
    what the last look saw."""

    home: Path
    node_name: str
    router: EnvoyRouter
    observer: Observer
    kept: KeptRecord
    clock: Callable[[], float]
    say: Callable[[str], None]
    versions: dict[UpstreamName, VersionSeen] = field(default_factory=dict)
    torchserve: bool = False
    problems: list[str] = field(default_factory=list)
    _torchserve_problem: str = ""
    _strays: set[int] = field(default_factory=set)
    _looked_at: float = float("-inf")
    _quiet_since: float | None = None

    def look(self, now: float) -> None:
        """At TorchServe and its workers, unless what was seen of them is fresh."""
        self.problems = []
        if now - self._looked_at >= _FRESH_SECONDS:
            self._torchserve_problem = ""
            self.torchserve = self._look_at_versions()
            self._looked_at = self.clock()
            self._end_strays()
        if self._torchserve_problem:
            self.problems.append(self._torchserve_problem)

    def expire(self) -> None:
        """Something has changed: what was seen of the workers is not fresh any more."""
        self._looked_at = float("-inf")

    def _look_at_versions(self) -> bool:
        """Whether TorchServe answers. When it does not, its workers are those still alive."""
        try:
            node = open_node(self.home, self.node_name)
            self.versions = self.observer.look(node.api, self.kept.record)
        except RemoteFailed as error:
            self._torchserve_problem = error.message
            alive = not isinstance(error, NotRunning)
            self.versions = {
                name: replace(
                    one, workers=tuple(w for w in one.workers if started_at(w.pid) is not None)
                )
                for name, one in self.versions.items()
                if alive or any(started_at(w.pid) is not None for w in one.workers)
            }
            return False
        return True

    def _end_strays(self) -> None:
        """Seen twice, so that it is no worker that TorchServe is just about to name."""
        strays, self.observer.strays = self.observer.strays, set()
        if sure := strays & self._strays:
            self.say(f"ending workers that TorchServe has forgotten: {sorted(sure)}")
            end(family(sure), 2.0)
        self._strays = strays

    def bridge_key(self) -> str | None:
        """What TorchServe's inference port asks for; None while no version needs it."""
        if not (self.torchserve and any(one.bridge for one in self.versions.values())):
            return None
        try:
            return open_node(self.home, self.node_name).api.inference_key()
        except RemoteFailed as error:
            self.problems.append(error.message)
            return self.kept.record.table.bridge_key

    def at_router(self, now: float) -> RouterSeen:
        """Also how many requests are on archives that are not ours: their workers don't say."""
        state = self.router.state()
        taken = state.routes_taken
        self._quiet_since = (self._quiet_since or now) if taken else None
        if not state.reachable:
            self.problems.append(f"the router does not answer: {state.problem}")
        elif state.problem:
            self.problems.append(f"the router refused its configuration: {state.problem}")
        self.versions = {
            name: replace(one, in_flight=state.active_requests(name)) if one.bridge else one
            for name, one in self.versions.items()
        }
        return RouterSeen(
            table=self.kept.record.table,
            reachable=state.reachable,
            upstreams_taken=state.upstreams_taken,
            routes_taken=taken,
            quiet_since=self._quiet_since or now,
            active=state.active,
            problem=state.problem,
        )

    def routes_change(self) -> None:
        """Requests under the old routes are waited for anew."""
        self._quiet_since = None
