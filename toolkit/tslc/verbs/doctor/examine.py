"""Doing the checks: side by side, each with its time; one that goes wrong stops no other."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from tslc.adapters.doctor.answers import Late, Question, answers
from tslc.domain.doctor.finding import Finding, fault, not_applicable, unknown
from tslc.domain.vocabulary import nearest
from tslc.errors import BadInput, TslcError
from tslc.verbs.doctor.checks import CHECKS, Check
from tslc.verbs.doctor.subject import Subject

_AGAIN = "tslc doctor --only {name}   # again; a bug if it stays"


@dataclass(frozen=True)
class Examined:
    """A check's name and its finding."""

    check: str
    finding: Finding


def examine(subject: Subject, only: Collection[str] = ()) -> tuple[Examined, ...]:
    """The checks named, or all, in their order. Raises BadInput for a name that is none."""
    for name in only:
        if name not in CHECKS:
            near = nearest(name, CHECKS)
            hint = f"--only {near}" if near else f"one of: {', '.join(CHECKS)}"
            raise BadInput(f"there is no check {name!r}", hint=hint)
    wanted = {name: check for name, check in CHECKS.items() if not only or name in only}
    questions = {
        name: Question(check.seconds, _look(check, subject)) for name, check in wanted.items()
    }
    found = answers(questions)
    named = subject.paths.name
    return tuple(
        Examined(name, _finding(name, wanted[name], one, named)) for name, one in found.items()
    )


def _look(check: Check, subject: Subject) -> Callable[[], Finding]:
    def look() -> Finding:
        if check.serving and not subject.serves:
            return not_applicable(
                "this machine runs no models: neither vLLM nor TorchServe is here"
            )
        return check.look(subject)

    return look


def _finding(name: str, check: Check, answer: Finding | Late | Exception, node: str) -> Finding:
    again = _AGAIN.format(name=name)
    match answer:
        case Finding():
            return answer
        case Late(seconds) if check.late:
            return fault(
                f"{check.late} (nothing within {seconds:g} s)",
                f"tslc down --name {node} && tslc up --name {node}",
            )
        case Late(seconds):
            return unknown(f"the check had no answer within {seconds:g} s", again)
        case TslcError():
            return fault(answer.message, answer.hint or again)
        case _:
            return unknown(f"the check itself failed: {type(answer).__name__}: {answer}", again)
