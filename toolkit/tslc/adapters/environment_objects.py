"""An environment's objects in the store: its state, its history, what its nodes report.

Who writes first wins: S3 decides by conditional writes. What is in them is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from tslc.adapters.parallel import at_once
from tslc.adapters.s3_errors import AlreadyThere, Missing
from tslc.adapters.s3_store import S3Store, Tagged
from tslc.domain.release import report
from tslc.domain.release.report import NodeReport, Reported
from tslc.domain.release.state import MAX_BYTES, EnvironmentState
from tslc.domain.store_layout import (
    history_generation,
    history_key,
    history_prefix,
    node_key,
    nodes_prefix,
    state_key,
)
from tslc.errors import BadFile, Refused


@dataclass(frozen=True)
class TaggedState:
    state: EnvironmentState
    tag: str


class LostRace(Refused):
    """Somebody else changed the environment first; nothing was written."""


class EnvironmentObjects:
    """Of one environment. Usable from many threads."""

    def __init__(self, store: S3Store, environment: str) -> None:
        self.store = store
        self.environment = environment

    def subject(self, key: str) -> str:
        return f"{self.store.address}/{key}"

    def read_state(self, unless: str | None = None) -> TaggedState | None:
        """The state, None when there has been none. Raises Unchanged for one with the tag `unless`,
        BadFile for one that is broken, Refused for a newer tslc's."""
        key = state_key(self.environment)
        found = self.store.read(key, MAX_BYTES, unless=unless)
        return self._tagged(key, found) if found else None

    def _tagged(self, key: str, found: Tagged) -> TaggedState:
        state = EnvironmentState.parse(found.content, self.subject(key))
        if state.environment != self.environment:
            raise Refused(f"{self.subject(key)} is the state of {state.environment}")
        return TaggedState(state, found.tag)

    def write_state(self, state: EnvironmentState, before: str | None) -> None:
        """Write the next state where the tag `before` still holds (None: where there is none), then
        its entry in the history. Raises LostRace.

        When the answer to our own write was lost, what lies there is ours, and that is success.
        """
        content = state.render()
        key = state_key(self.environment)
        digest = sha256(content).digest()
        try:
            self.store.put(key, content, digest, if_absent=before is None, if_tag=before)
        except (AlreadyThere, Missing):
            found = self.store.read(key, MAX_BYTES)
            if found is None or found.content != content:
                raise LostRace(f"{self.subject(key)} was changed meanwhile") from None
        self.write_entry(state)

    def write_entry(self, state: EnvironmentState) -> None:
        """The entry of a state that is or was in force; the same one may lie there already.

        Raises Refused when another one does.
        """
        content = state.render()
        key = history_key(self.environment, state.generation)
        try:
            self.store.put(key, content, sha256(content).digest(), if_absent=True)
        except AlreadyThere:
            if self.store.get(key, MAX_BYTES) != content:
                raise Refused(
                    f"{self.subject(key)} is not the state of generation {state.generation}",
                    hint=f"tslc history verify --env {self.environment}",
                ) from None

    def generations(self) -> tuple[int, ...]:
        """Of all entries there are."""
        found = self.store.list(history_prefix(self.environment))
        numbers = (history_generation(one.key) for one in found)
        return tuple(sorted(number for number in numbers if number is not None))

    def entries(self, generations: Iterable[int]) -> dict[int, EnvironmentState | str]:
        """Entries by generation; of one that can't be read, the reason."""

        def read(generation: int) -> EnvironmentState | str:
            key = history_key(self.environment, generation)
            content = self.store.get(key, MAX_BYTES)
            if content is None:
                return "missing"
            try:
                return EnvironmentState.parse(content, self.subject(key))
            except (BadFile, Refused) as error:
                return " ".join(error.message.split())

        wanted = list(generations)
        return dict(zip(wanted, at_once(read, wanted), strict=True))

    def write_report(self, told: NodeReport) -> None:
        content = told.render()
        key = node_key(self.environment, told.node)
        self.store.put(key, content, sha256(content).digest())

    def reports(self) -> tuple[Reported, ...]:
        """What the nodes said last, by name; what is no report is passed over."""

        def read(key: str) -> Reported | None:
            found = self.store.read(key, report.MAX_BYTES)
            told = NodeReport.parse(found.content) if found else None
            return Reported(told, found.age) if told and found else None

        keys = [one.key for one in self.store.list(nodes_prefix(self.environment))]
        return tuple(one for one in at_once(read, keys) if one is not None)
