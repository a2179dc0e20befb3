"""`tslc history`: what an environment served, who changed it and why; whether that is all true."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tslc.adapters.environment_objects import EnvironmentObjects
from tslc.adapters.s3_store import S3Store
from tslc.domain.release.history import Flaw, Step, at, flaws, steps
from tslc.domain.release.state import EnvironmentState
from tslc.errors import BadFile, Refused


@dataclass(frozen=True)
class Verified:
    """`entries`: how many there are; `head`: the digest of the newest: who keeps it elsewhere can
    tell later that nothing before it was changed; `state_problem`: why the state can't be read."""

    entries: int
    head: str | None
    flaws: tuple[Flaw, ...]
    state_problem: str = ""


def read_history(store: S3Store, environment: str) -> tuple[Step, ...]:
    """Every change, oldest first.

    Raises Refused when there is a gap or an entry that can't be read: it would tell another story.
    """
    entries, state = _read(store, environment)
    if found := flaws(entries, state):
        told = [f"generation {one.generation}: {one.problem}" for one in found]
        raise Refused(
            "\n    ".join([f"the history of {environment} is not whole:", *told]),
            hint=f"tslc history verify --env {environment}",
        )
    return steps(_in_order(entries, state))


def served_at(steps_of: tuple[Step, ...], moment: datetime) -> EnvironmentState | None:
    return at([step.state for step in steps_of], moment)


def verify_history(store: S3Store, environment: str) -> Verified:
    """Also where the state itself is damaged: the entries tell what it was."""
    try:
        entries, state = _read(store, environment)
    except BadFile as error:
        objects = EnvironmentObjects(store, environment)
        entries = objects.entries(objects.generations())
        good = [one for one in entries.values() if isinstance(one, EnvironmentState)]
        last = max(good, key=lambda one: one.generation, default=None)
        problem = " ".join(error.message.split())
        return Verified(len(entries), None, flaws(entries, last), problem)
    head = state.digest if state else None
    return Verified(len(entries), head, flaws(entries, state))


def _read(
    store: S3Store, environment: str
) -> tuple[dict[int, EnvironmentState | str], EnvironmentState | None]:
    objects = EnvironmentObjects(store, environment)
    # The state first: what is written meanwhile is then at most one entry ahead of it.
    found = objects.read_state()
    state = found.state if found else None
    known = [one for one in objects.generations() if state is None or one <= state.generation]
    beyond = [one for one in objects.generations() if state and one > state.generation]
    if beyond and (again := objects.read_state()):
        state = again.state
        known += [one for one in beyond if one <= state.generation]
    return objects.entries(sorted(set(known))), state


def _in_order(
    entries: dict[int, EnvironmentState | str], state: EnvironmentState | None
) -> list[EnvironmentState]:
    whole = {number: one for number, one in entries.items() if isinstance(one, EnvironmentState)}
    if state is not None:
        whole.setdefault(state.generation, state)
    return [whole[number] for number in sorted(whole)]
