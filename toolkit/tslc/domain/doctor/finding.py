"""A check's answer: how bad it is, what was found, what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """`UNKNOWN`: the check itself went wrong. No answer is not a yes: it fails as a fault does."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"
    NOT_APPLICABLE = "not applicable"
    UNKNOWN = "unknown"

    @property
    def fails(self) -> bool:
        return self in (Verdict.FAULT, Verdict.UNKNOWN)


@dataclass(frozen=True)
class Finding:
    """`fix`: a command where one does it; empty where there is nothing to do."""

    verdict: Verdict
    found: str
    fix: str = ""


def ok(found: str) -> Finding:
    return Finding(Verdict.OK, found)


def warning(found: str, fix: str) -> Finding:
    return Finding(Verdict.WARNING, found, fix)


def fault(found: str, fix: str) -> Finding:
    return Finding(Verdict.FAULT, found, fix)


def not_applicable(found: str) -> Finding:
    return Finding(Verdict.NOT_APPLICABLE, found)


def unknown(found: str, fix: str) -> Finding:
    return Finding(Verdict.UNKNOWN, found, fix)


_RANKS = (Verdict.FAULT, Verdict.UNKNOWN, Verdict.WARNING, Verdict.OK, Verdict.NOT_APPLICABLE)


def worst(findings: Iterable[Finding]) -> Finding:
    """All that are as bad as the worst, in one: what was found and what to do, each once."""
    listed = list(findings)
    verdict = next(rank for rank in _RANKS if any(one.verdict is rank for one in listed))
    alike = [one for one in listed if one.verdict is verdict]
    found = "; ".join(dict.fromkeys(one.found for one in alike))
    fix = "\n".join(dict.fromkeys(one.fix for one in alike if one.fix))
    return Finding(verdict, found, fix)
