"""What is examined: a node, an environment, a store; and what several checks look at, seen once."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from tslc.adapters import node_folder, supervisor
from tslc.adapters.doctor.packages import package_facts
from tslc.adapters.doctor.programs import gpu_facts
from tslc.domain.doctor.gpu import GpuFacts
from tslc.domain.doctor.node_state import NodeFacts
from tslc.domain.doctor.packages import TORCH, PackageFacts
from tslc.domain.doctor.store import Role, StoreFacts, scratch_key
from tslc.domain.node import NodePaths, Ports
from tslc.domain.settings import LocalStore, Settings
from tslc.errors import TslcError
from tslc.verbs.status import program_statuses

T = TypeVar("T")


@dataclass(frozen=True)
class Subject:
    """`role`: what the credentials are for; `sign`: a key versions are to be signed with."""

    home: Path
    paths: NodePaths
    settings: Settings
    env: Mapping[str, str]
    role: Role = Role.ALL
    sign: str | None = None
    _seen: dict[str, Any] = field(default_factory=dict, repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    _looking: dict[str, threading.Lock] = field(default_factory=dict, repr=False)

    @property
    def environment(self) -> str:
        return self.settings.environment().name

    @property
    def packages(self) -> PackageFacts:
        return self._once("packages", package_facts)

    @property
    def gpu(self) -> GpuFacts:
        return self._once("gpu", lambda: gpu_facts(self.packages.installed.get(TORCH), self.env))

    @property
    def node(self) -> NodeFacts:
        """Raises BadFile."""
        return self._once("node", lambda: _node_facts(self.paths))

    @property
    def store(self) -> StoreFacts:
        """Everything of the role was tried."""
        return self._once("store", lambda: _store_facts(self))

    @property
    def serves(self) -> bool:
        """Whether this machine runs models, or is to: a laptop that releases needs no Java."""
        return self.packages.serves or self.paths.root.is_dir()

    def _once(self, name: str, look: Callable[[], T]) -> T:
        """Who comes second waits for the first, and looks again where that one failed."""
        with self._lock:
            lock = self._looking.setdefault(name, threading.Lock())
        with lock:
            if name not in self._seen:
                self._seen[name] = look()
            return cast(T, self._seen[name])


def _node_facts(paths: NodePaths) -> NodeFacts:
    state = node_folder.read_state(paths)
    if state is None:
        return NodeFacts(paths.name, str(paths.root))
    usual = Ports().named()
    own = {flag: port for flag, port in state.settings.ports.named().items() if port != usual[flag]}
    return NodeFacts(
        paths.name,
        str(paths.root),
        exists=True,
        up=state.pid is not None,
        supervised=supervisor.is_running(paths),
        programs=program_statuses(paths),
        ports=own,
    )


def _store_facts(subject: Subject) -> StoreFacts:
    from tslc.adapters.doctor.store_trials import StoreTrials
    from tslc.verbs.store_access import open_store

    local = isinstance(subject.settings.store.url, LocalStore)
    unique = f"{platform.node()}-{os.getpid()}-{os.urandom(4).hex()}"
    key = scratch_key(subject.role, subject.environment, unique)
    try:
        store = open_store(subject.settings, subject.paths, impatient=True)
    except TslcError as error:
        return StoreFacts(
            subject.role,
            problem=error.message,
            hint=error.hint or "tslc config   # the rows store.*",
            local=local,
            node_up=subject.node.up,
        )
    trials = StoreTrials(store, subject.role, key)
    trials.run()
    return StoreFacts(
        subject.role,
        address=str(store.address),
        local=local,
        outcomes=trials.outcomes,
        left=tuple(trials.left),
    )
