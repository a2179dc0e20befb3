"""A release as it lies in the store, so that anybody can go on with it.

    environments/<env>/releases/<model>.json   the last one of the model; compare-and-swap

Law: `Release.parse(one.render()) == one`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any

from tslc.domain.manifest import canonical_json
from tslc.domain.releasing.bake import Bake
from tslc.domain.releasing.plan_file import ReleasePlan
from tslc.errors import BadFile, Mistake, Refused

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA = 1
MAX_BYTES = 4 * 1024 * 1024


class State(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    TAKEN_BACK = "taken back"
    SUPERSEDED = "superseded"

    @property
    def ended(self) -> bool:
        return self not in (State.RUNNING, State.PAUSED)


@dataclass(frozen=True)
class Event:
    """`when`: UTC, ISO 8601."""

    when: str
    what: str


@dataclass(frozen=True)
class Release:
    """`before`: the shares of the model's versions when it began, in hundredths of a percent, None
    where the model was not served. `shares`: those it wished for last. `data`: the plan's files of
    prompts, by name. `origin`: what it is part of, such as a pipeline's execution. `step`: the
    place among `phases(…)`, begun at `since`. `runner`: who goes on with it; another one takes over
    by writing himself here."""

    id: str
    environment: str
    model: str
    version: str
    plan: ReleasePlan
    who: str
    why: str
    runner: str
    began: str
    since: str
    before: Mapping[str, int] | None
    shares: Mapping[str, int] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    origin: str = ""
    step: int = 0
    state: State = State.RUNNING
    reason: str = ""
    bake: Bake | None = None
    evaluation: Mapping[str, Any] | None = None
    story: tuple[Event, ...] = ()
    schema: int = SCHEMA

    def render(self) -> bytes:
        return canonical_json(asdict(self))

    @classmethod
    def parse(cls, content: bytes, subject: str) -> Release:
        """Raises BadFile, Refused for one of a newer tslc."""
        try:
            found = _schema().validate_json(content)
        except ValueError as error:
            fix = "delete it: the traffic stays as it is"
            said = " ".join(str(error).split())[:200]
            raise BadFile(subject, [Mistake("the file", said, fix)]) from None
        if found.schema > SCHEMA:
            raise Refused(f"{subject} was written by a newer tslc", hint="upgrade tslc here")
        return found

    def told(self, when: str, what: str) -> Release:
        return replace(self, story=(*self.story, Event(when, what)))

    def next_step(self, when: str) -> Release:
        return replace(self, step=self.step + 1, since=when, bake=None)

    def ended(self, when: str, state: State, reason: str = "") -> Release:
        said = f"{state}: {reason}" if reason else str(state)
        return replace(self, state=state, reason=reason, bake=None).told(when, said)


@cache
def _schema() -> TypeAdapter[Release]:
    from pydantic import TypeAdapter

    return TypeAdapter(Release)
