"""The store, watched from a thread: the desired state, the other nodes; and told how this one is.

When the store is away the last state holds, and the node goes on; that it is away is said.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tslc.adapters.agent_folder import AgentFolder
from tslc.adapters.environment_objects import EnvironmentObjects
from tslc.adapters.s3_errors import Unchanged
from tslc.domain.release.report import NodeReport, Reported
from tslc.domain.release.state import EnvironmentState
from tslc.errors import TslcError

# A report that says nothing new is sent as often as this, in seconds.
HEARTBEAT = 10.0
# While a version is being judged by its traffic, what it had is told as often as this.
SPLIT_HEARTBEAT = 2.0
PEERS_EVERY = 2.0
# After a change another one is likely, and it may be a rollback: for ten minutes the store is asked
# four times a second.
HURRY_FOR, HURRY_SECONDS = 600.0, 0.25


@dataclass(frozen=True)
class StoreSeen:
    """`state` None: nobody has said yet what is desired. `away`: why the store can't be read, and
    `away_since` when that began (the clock's seconds)."""

    state: EnvironmentState | None = None
    peers: tuple[Reported, ...] = ()
    away: str = ""
    away_since: float = 0.0
    bad_state: str = ""


@dataclass
class StoreWatch:
    """`open_objects` opens the store (its address may change when a local one is restarted);
    `woken` is called when there is something new."""

    open_objects: Callable[[], EnvironmentObjects]
    folder: AgentFolder
    environment: str
    poll_seconds: float
    clock: Callable[[], float]
    woken: Callable[[], None]
    peers_wanted: bool = False
    _seen: StoreSeen = field(default_factory=StoreSeen)
    _changed_at: float = float("-inf")
    _tag: str | None = None
    _objects: EnvironmentObjects | None = None
    _report: NodeReport | None = None
    _sent: NodeReport | None = None
    _sent_at: float = float("-inf")
    _peers_at: float = float("-inf")
    _stopping: threading.Event = field(default_factory=threading.Event)
    _told: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        kept = self.folder.read_desired(self.environment)
        self._seen = StoreSeen(kept)
        for work in (self._watch, self._tell):
            thread = threading.Thread(target=work, name=work.__name__, daemon=True)
            thread.start()
            self._threads.append(thread)

    @property
    def seen(self) -> StoreSeen:
        return self._seen

    @property
    def peers_known(self) -> bool:
        """Whether the other nodes' reports have been read."""
        return self._peers_at > float("-inf")

    def tell(self, report: NodeReport) -> None:
        """Send this report soon, unless it says what was sent already."""
        self._report = report
        self._told.set()

    def stop(self, farewell: NodeReport | None, seconds: float) -> None:
        """End the threads; a last report is sent if the store takes it in time."""
        self._stopping.set()
        self._told.set()
        for thread in self._threads:
            thread.join(seconds)
        if farewell is not None and not self._seen.away:
            try:
                self._open().write_report(farewell)
            except TslcError:
                return

    # --- the state ---------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._stopping.is_set():
            self._poll()
            hurry = self.clock() - self._changed_at < HURRY_FOR
            self._stopping.wait(
                min(HURRY_SECONDS, self.poll_seconds) if hurry else self.poll_seconds
            )

    def _poll(self) -> None:
        seen = self._seen
        try:
            found = self._open().read_state(unless=self._tag)
            self._tag = found.tag if found else None
            # An environment nobody has written to yet wants nothing.
            state = found.state if found else EnvironmentState(self.environment)
            bad = ""
            if seen.state is not None and seen.state.generation > state.generation:
                # Nobody goes back: it was deleted, or an old copy was put there.
                state, bad = seen.state, _OLDER
            self._take(replace(seen, state=state, away="", bad_state=bad))
        except Unchanged:
            self._take(replace(seen, away=""))
        except TslcError as error:
            self._fail(error)
            return
        self._look_at_peers()

    def _fail(self, error: TslcError) -> None:
        seen = self._seen
        if error.exit_code in (2, 3):
            # The store answered: the state itself can't be used. What was good before holds.
            self._take(replace(seen, bad_state=error.message, away=""))
            return
        self._objects = None
        since = seen.away_since if seen.away else self.clock()
        self._take(replace(seen, away=error.message, away_since=since))

    def _take(self, seen: StoreSeen) -> None:
        before, self._seen = self._seen, seen
        if seen.state is not None and seen.state != before.state:
            self._changed_at = self.clock()
            self.folder.write_desired(seen.state)
        if seen != before:
            self.woken()

    def _look_at_peers(self) -> None:
        if not self.peers_wanted or self.clock() - self._peers_at < PEERS_EVERY:
            return
        try:
            peers = self._open().reports()
        except TslcError as error:
            self._fail(error)
            return
        self._peers_at = self.clock()
        self._take(replace(self._seen, peers=peers))

    # --- the report --------------------------------------------------------------------------

    def _tell(self) -> None:
        while not self._stopping.is_set():
            self._told.wait(1.0)
            self._told.clear()
            report = self._report
            if report is None:
                continue
            pause = SPLIT_HEARTBEAT if report.divided else HEARTBEAT
            due = self.clock() - self._sent_at >= pause
            if self._sent and report.gist == self._sent.gist and not due:
                continue
            self.folder.write_report(report.render())
            try:
                self._open().write_report(report)
            except TslcError:
                # The watch says that the store is away.
                self._stopping.wait(1.0)
                self._told.set()
                continue
            self._sent, self._sent_at = report, self.clock()

    def _open(self) -> EnvironmentObjects:
        objects = self._objects or self.open_objects()
        self._objects = objects
        return objects


_OLDER = (
    "the store's state is older than this node's, or gone: this node keeps the newer one "
    "(restore it from the history, or delete agent/desired.json here and restart the agent)"
)
