"""The history of an environment: is it whole, and what served at a time.

A generation's entry and its state are the same bytes, and name the digest of the entry before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tslc.domain.release.changes import words_of
from tslc.domain.release.state import EnvironmentState


@dataclass(frozen=True)
class Flaw:
    """What is wrong with the history at a generation."""

    generation: int
    problem: str


@dataclass(frozen=True)
class Step:
    """One entry against the one before it: per model, what changed."""

    state: EnvironmentState
    changed: Mapping[str, tuple[str, ...]]


def flaws(
    entries: Mapping[int, EnvironmentState | str], state: EnvironmentState | None
) -> tuple[Flaw, ...]:
    """Everything wrong with a history. An entry that can't be read is given as the reason why.

    The newest entry may be missing: a writer died after the state and before it. The state is it.
    """
    known: dict[int, EnvironmentState | str] = dict(entries)
    last = state.generation if state else 0
    found: list[Flaw] = []
    if state is not None:
        newest = known.setdefault(last, state)
        if isinstance(newest, EnvironmentState) and newest.digest != state.digest:
            found.append(Flaw(last, "the state is not what the history says"))
    if ahead := sorted(number for number in known if number > last):
        found.append(Flaw(ahead[0], f"beyond the state, which is at generation {last}"))
    before: str | None = None
    for number in range(1, max(known, default=0) + 1):
        if (entry := known.get(number)) is None:
            found.append(Flaw(number, "missing"))
            before = None
        elif isinstance(entry, str):
            found.append(Flaw(number, entry))
            before = None
        else:
            found += _entry_flaws(number, entry, before, first=number == 1)
            before = entry.digest
    return tuple(sorted(found, key=lambda flaw: flaw.generation))


def _entry_flaws(
    number: int, entry: EnvironmentState, before: str | None, *, first: bool
) -> list[Flaw]:
    found = []
    if entry.generation != number:
        found.append(Flaw(number, f"it holds generation {entry.generation}"))
    if first and entry.previous is not None:
        found.append(Flaw(number, "the first entry names one before it"))
    # After a gap there is nothing to compare with; the gap has been told.
    if not first and before is not None and entry.previous != before:
        problem = f"it does not follow generation {number - 1}: one of the two was changed"
        found.append(Flaw(number, problem))
    return found


def steps(entries: Sequence[EnvironmentState]) -> tuple[Step, ...]:
    """What each entry changed, oldest first; `entries` are in order, without a gap."""
    found = []
    before: Mapping[str, object] = {}
    past: EnvironmentState | None = None
    for entry in entries:
        models = past.models if past else {}
        changed = {
            name: words_of(models.get(name), entry.models.get(name))
            for name in sorted({*models, *entry.models})
            if models.get(name) != entry.models.get(name)
        }
        keys = {key.name: key for key in entry.keys}
        if words := _key_words(before, keys):
            changed["(keys)"] = words
        found.append(Step(entry, changed))
        before, past = keys, entry
    return tuple(found)


def _key_words(before: Mapping[str, object], after: Mapping[str, object]) -> tuple[str, ...]:
    new = [f"{name}: new" for name in after if name not in before]
    gone = [f"{name}: revoked" for name in before if name not in after]
    other = [f"{name}: changed" for name in after if before.get(name, after[name]) != after[name]]
    return (*new, *other, *gone)


def at(entries: Sequence[EnvironmentState], moment: datetime) -> EnvironmentState | None:
    """What was in force at a moment; None before the first entry."""
    past = [one for one in entries if datetime.fromisoformat(one.change.when) <= moment]
    return max(past, key=lambda one: one.generation, default=None)
