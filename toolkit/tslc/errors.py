"""Every error tslc raises on purpose, and the exit code each one ends with.

    TslcError                      exit 1   anything else that is understood
    ├── BadInput                   exit 2   a file, flag or argument is wrong; nothing was done
    ├── Refused                    exit 3   a gate said no, or the thing exists already
    ├── Inconclusive               exit 4   not enough evidence to say yes or no
    └── RemoteFailed               exit 5   a server, worker or store did not do its part
        └── NotRunning             exit 5   nothing listens where something should

An error says what happened and to which object; its hint is a command to type or a line to write.
An exception that is not a TslcError is a bug and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


class TslcError(Exception):
    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class BadInput(TslcError):
    exit_code = 2


class Refused(TslcError):
    exit_code = 3


class Inconclusive(TslcError):
    exit_code = 4


class RemoteFailed(TslcError):
    exit_code = 5


class NotRunning(RemoteFailed):
    pass


@dataclass(frozen=True)
class Mistake:
    """One thing wrong with one input: where it is, what is wrong, how to mend it.

    `line`: where in the input it is, counted from 1, when it has one.
    """

    where: str
    problem: str
    fix: str
    line: int | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}\n    fix: {self.fix}"


class BadFile(BadInput):
    """All the mistakes of one input, reported together."""

    def __init__(self, subject: str, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        count = len(self.mistakes)
        head = f"{subject} has {count} mistake{'s' if count != 1 else ''}"
        super().__init__("\n".join([head, *(f"  {mistake}" for mistake in self.mistakes)]))
