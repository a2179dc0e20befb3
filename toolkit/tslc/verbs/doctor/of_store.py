"""The checks of the store: reaching it, each right, its clock, and room for what it holds."""

from __future__ import annotations

from tslc.adapters.doctor import machine
from tslc.adapters.environment_objects import EnvironmentObjects
from tslc.domain.doctor.clock import judge_clock
from tslc.domain.doctor.disk import DiskFacts, judge_disk
from tslc.domain.doctor.finding import Finding
from tslc.domain.doctor.store import (
    Right,
    judge_delete,
    judge_rights,
    judge_signing,
    judge_store,
)
from tslc.errors import TslcError
from tslc.verbs.doctor.subject import Subject
from tslc.verbs.store_access import find_manifest, open_store


def reach(subject: Subject) -> Finding:
    return judge_store(subject.store)


def get(subject: Subject) -> Finding:
    return judge_rights(subject.store, {Right.GET: "objects can be read"})


def put(subject: Subject) -> Finding:
    said = "an object was written and read back"
    return judge_rights(subject.store, {Right.PUT: said})


def conditions(subject: Subject) -> Finding:
    said = {Right.ABSENT: "If-None-Match is honoured", Right.MATCH: "If-Match is honoured"}
    return judge_rights(subject.store, said)


def multipart(subject: Subject) -> Finding:
    said = "an upload in parts was begun and broken off"
    return judge_rights(subject.store, {Right.MULTIPART: said})


def delete(subject: Subject) -> Finding:
    return judge_delete(subject.store)


def signing(subject: Subject) -> Finding:
    if subject.sign is None:
        return judge_signing(None, "", None)
    from tslc.adapters.doctor.signing_trial import try_key

    try:
        try_key(subject.sign)
    except TslcError as error:
        return judge_signing(error.message, error.hint or "", subject.sign)
    return judge_signing(None, "", subject.sign)


def clock(subject: Subject) -> Finding:
    from tslc.adapters.doctor.store_trials import clock_skew

    try:
        store = open_store(subject.settings, subject.paths, impatient=True)
    except TslcError as error:
        return judge_clock(None, error.message)
    return judge_clock(*clock_skew(store))


def disk(subject: Subject) -> Finding:
    cache = subject.settings.cache
    facts = DiskFacts(
        machine.disk_of("the cache", cache.path),
        machine.disk_of("the node", subject.paths.root),
        cache.max_size,
        subject.environment,
    )
    try:
        sizes, versions = _wanted(subject)
    except TslcError as error:
        return judge_disk(_with_reason(facts, error))
    there = machine.cached_sizes(cache.path, sizes)
    missing = sum(size for sha256, size in sizes.items() if there.get(sha256) != size)
    return judge_disk(
        DiskFacts(
            facts.cache,
            facts.home,
            facts.cache_limit,
            facts.environment,
            versions=versions,
            missing=missing,
            wanted=sum(sizes.values()),
        )
    )


def _with_reason(facts: DiskFacts, error: TslcError) -> DiskFacts:
    reason = error.message.partition("\n")[0]
    return DiskFacts(
        facts.cache, facts.home, facts.cache_limit, facts.environment, unknown_because=reason
    )


def _wanted(subject: Subject) -> tuple[dict[str, int], int]:
    """The size of each content that the environment's versions consist of, and how many these are.

    Raises TslcErrors.
    """
    store = open_store(subject.settings, subject.paths, impatient=True)
    found = EnvironmentObjects(store, subject.environment).read_state()
    models = found.state.models if found else {}
    named = [(model, one) for model, state in models.items() for one in state.versions]
    manifests = [find_manifest(store, model, version) for model, version in named]
    sizes = {
        sha256: size for one in manifests if one is not None for sha256, size in one.blobs.items()
    }
    return sizes, len(named)
