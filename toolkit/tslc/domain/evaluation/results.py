"""What versions answered to the same prompts, and the figures of it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """`reasons`: why it fails its prompt; none: it passed. `text`: of all its choices, None where
    there is none. `seconds`: until its last byte; `tokens`: that it generated, None where it does
    not say."""

    reasons: tuple[str, ...]
    seconds: float
    text: str | None = None
    tokens: int | None = None

    @property
    def passed(self) -> bool:
        return not self.reasons


@dataclass(frozen=True)
class Asked:
    """A prompt by name, and each version's answer to it."""

    name: str
    answers: Mapping[str, Answer]


@dataclass(frozen=True)
class Evaluation:
    """Of `version`, beside `against` where one was named."""

    model: str
    version: str
    against: str | None
    asked: Sequence[Asked]

    @property
    def versions(self) -> tuple[str, ...]:
        return (self.version, self.against) if self.against is not None else (self.version,)

    @property
    def failed(self) -> tuple[Asked, ...]:
        return tuple(one for one in self.asked if not one.answers[self.version].passed)

    @property
    def regressed(self) -> tuple[Asked, ...]:
        """What the version fails and the other one does not."""
        if self.against is None:
            return ()
        return tuple(one for one in self.failed if one.answers[self.against].passed)

    @property
    def mended(self) -> tuple[Asked, ...]:
        """What the version passes and the other one does not."""
        if self.against is None:
            return ()
        return tuple(
            one
            for one in self.asked
            if one.answers[self.version].passed and not one.answers[self.against].passed
        )

    @property
    def changed(self) -> tuple[Asked, ...]:
        """What both answer, in other words."""
        if self.against is None:
            return ()
        pairs = [(one, one.answers[self.version], one.answers[self.against]) for one in self.asked]
        return tuple(one for one, ours, theirs in pairs if ours.text != theirs.text)


@dataclass(frozen=True)
class Figures:
    """Of one version's answers. Seconds, tokens generated, and tokens a second of one request;
    None where no answer said how many tokens it has."""

    passed: int
    failed: int
    median: float
    p95: float
    tokens: int | None
    tokens_per_second: float | None


def figures(evaluation: Evaluation, version: str) -> Figures:
    """Raises ValueError where nothing was asked."""
    answers = [one.answers[version] for one in evaluation.asked]
    seconds = sorted(one.seconds for one in answers)
    counted = [one for one in answers if one.tokens is not None]
    tokens = sum(one.tokens or 0 for one in counted) if counted else None
    busy = sum(one.seconds for one in counted)
    passed = sum(one.passed for one in answers)
    return Figures(
        passed,
        len(answers) - passed,
        statistics.median(seconds),
        seconds[math.ceil(0.95 * len(seconds)) - 1],
        tokens,
        tokens / busy if tokens is not None and busy > 0 else None,
    )
