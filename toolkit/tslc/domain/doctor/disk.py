"""Whether what an environment wants fits on the disk of the cache."""

from __future__ import annotations

from dataclasses import dataclass

from tslc.domain.doctor.finding import Finding, fault, ok, warning
from tslc.domain.gpus import GIB, gib

# Below that logs, TorchServe's unpacked archives and a new version soon fill it.
LITTLE = 5 * GIB
LEAST = GIB // 2


@dataclass(frozen=True)
class Folder:
    """Bytes of the file system a folder lies on, or will."""

    what: str
    path: str
    free: int
    total: int


@dataclass(frozen=True)
class DiskFacts:
    """`missing`: bytes of the environment's versions that are not in the cache yet, None where that
    is not known; `versions`: how many it wants. `cache_limit`: how large the cache may grow;
    `wanted`: bytes of all its versions."""

    cache: Folder
    home: Folder
    cache_limit: int
    environment: str
    versions: int = 0
    missing: int | None = None
    wanted: int = 0
    unknown_because: str = ""


def judge_disk(facts: DiskFacts) -> Finding:
    cache = facts.cache
    room = f"{gib(cache.free)} of {gib(cache.total)} free for the cache, {cache.path}"
    fix = f"free some of {cache.path}, or put the cache on a larger disk: tslc config (cache.path)"
    if facts.missing is not None and facts.missing > cache.free:
        return fault(f"{room}; {_need(facts)}", fix)
    if facts.wanted > facts.cache_limit:
        said = f"the versions of {facts.environment} are {gib(facts.wanted)}"
        larger = f"cache.max_size in tslc.yaml, now {gib(facts.cache_limit)}"
        return warning(f"{said}: more than the cache may hold", f"raise {larger}")
    for one in (cache, facts.home):
        if one.free < LEAST:
            said = f"{gib(one.free)} of {gib(one.total)} free for {one.what}, {one.path}"
            return fault(said, f"free some of {one.path}: df -h {one.path}")
    if cache.free < LITTLE:
        return warning(room, fix)
    return ok(f"{room}; {_need(facts)}")


def _need(facts: DiskFacts) -> str:
    if facts.missing is None:
        return f"what {facts.environment} needs is not known ({facts.unknown_because})"
    if not facts.versions:
        return f"{facts.environment} wants no version"
    return f"the {facts.versions} versions of {facts.environment} need {gib(facts.missing)} more"
