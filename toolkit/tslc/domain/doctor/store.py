"""What each role has to be able to do with the store, where that is tried, and what came of it.

A role is tried with the keys its policy (deploy/iam) is about. A role that may not delete leaves
its scratch object: a blob that `tslc gc` takes, or a JSON document that every reader passes over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tslc.domain.doctor.finding import Finding, fault, not_applicable, ok, worst
from tslc.domain.store_layout import MODELS, blob_key, node_key, state_key

# What the environment or the node of a scratch document is called.
NAME = "tslc-doctor"
# A reader of environments takes it for a document that names nothing.
CONTENT = b'{"written-by": "tslc doctor"}'


class Right(StrEnum):
    """The value is what is done, for the words of a finding."""

    LIST = "list"
    GET = "get"
    PUT = "put"
    ABSENT = "put if absent"
    MATCH = "put if unchanged"
    MULTIPART = "put in parts"
    DELETE = "delete"
    UPLOADS = "list unfinished uploads"


class Role(StrEnum):
    ALL = "all"
    PUBLISHER = "publisher"
    RELEASER = "releaser"
    NODE = "node"
    AUDITOR = "auditor"
    JANITOR = "janitor"


_READ = frozenset({Right.LIST, Right.GET})
RIGHTS: Mapping[Role, frozenset[Right]] = {
    Role.ALL: frozenset(Right),
    Role.PUBLISHER: _READ | {Right.PUT, Right.ABSENT, Right.MULTIPART},
    Role.RELEASER: _READ | {Right.ABSENT, Right.MATCH},
    Role.NODE: _READ | {Right.PUT},
    Role.AUDITOR: _READ,
    Role.JANITOR: _READ | {Right.DELETE, Right.UPLOADS},
}


def scratch_key(role: Role, environment: str, unique: str) -> str:
    """Where a role is tried, below the store's prefix; `unique` to this run."""
    match role:
        case Role.PUBLISHER:
            return blob_key(hashlib.sha256(CONTENT).hexdigest())
        case Role.RELEASER:
            return state_key(NAME)
        case Role.NODE:
            return node_key(environment, NAME)
        case Role.JANITOR:
            return blob_key(hashlib.sha256(unique.encode()).hexdigest())
        case Role.AUDITOR:
            return f"{MODELS}{unique}"
        case Role.ALL:
            return f"doctor/{unique}"


@dataclass(frozen=True)
class Outcome:
    """`problem` is empty when it was done."""

    problem: str = ""
    hint: str = ""


@dataclass(frozen=True)
class StoreFacts:
    """`address` None: the store could not be opened, `problem` says why. `local`: it is that of a
    node, which is down when `problem` is set. `left`: keys that could not be deleted again."""

    role: Role
    address: str | None = None
    problem: str = ""
    hint: str = ""
    local: bool = False
    node_up: bool = False
    outcomes: Mapping[Right, Outcome] = field(default_factory=dict)
    left: tuple[str, ...] = ()


def judge_store(facts: StoreFacts) -> Finding:
    """Whether it is there, and can be listed."""
    if facts.address is None:
        if facts.local and not facts.node_up:
            return not_applicable(f"{facts.problem}; the store of a node runs with the node")
        return fault(facts.problem, facts.hint)
    return _judged(facts, Right.LIST, f"{facts.address} answers and can be listed")


def judge_rights(facts: StoreFacts, rights: Mapping[Right, str]) -> Finding:
    """`rights` with what to say when each was done."""
    wanted = {right: said for right, said in rights.items() if right in RIGHTS[facts.role]}
    if not wanted:
        return not_applicable(f"a {facts.role} needs no right to {' or '.join(rights)}")
    found = [_judged(facts, right, said) for right, said in wanted.items()]
    return worst(found)


def _judged(facts: StoreFacts, right: Right, said: str) -> Finding:
    outcome = facts.outcomes.get(right)
    if outcome is None:
        return not_applicable("not tried: the store can't be used (see store)")
    if not outcome.problem:
        return ok(said)
    fix = outcome.hint or "tslc config   # the rows store.*"
    if facts.role is Role.ALL and "policy" in fix:
        fix += "; or say what these credentials are for: tslc doctor --role node, publisher, …"
    return fault(outcome.problem, fix)


def judge_delete(facts: StoreFacts) -> Finding:
    """Also what stayed behind of the other trials."""
    done = "an object can be deleted, and unfinished uploads found"
    found = judge_rights(facts, {Right.DELETE: done, Right.UPLOADS: done})
    if not facts.left:
        return found
    left = f"a scratch object stayed: {', '.join(facts.left)}"
    return Finding(found.verdict, f"{found.found}; {left}", found.fix)


def judge_signing(problem: str | None, hint: str, key: str | None) -> Finding:
    """`problem` None: a signature was made with the key, and fits."""
    if key is None:
        return not_applicable("no key to sign with was named (--sign KEY)")
    if problem is not None:
        return fault(problem, hint)
    return ok(f"{key} makes signatures that fit")
