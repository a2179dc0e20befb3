"""What registering a version comes to: the reasons of a failure, in words a person can act on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tslc.domain.worker_log import WorkerLine, last_words, worker_error


@dataclass(frozen=True)
class PromptResult:
    """A golden prompt's verdict; no reason means that it passed."""

    name: str
    reasons: tuple[str, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        return not self.reasons


def prompts_failed(model: str, version: str, results: Sequence[PromptResult]) -> str:
    failed = [result for result in results if not result.passed]
    head = f"{model} {version} failed {len(failed)} of {len(results)} golden prompts"
    lines = [f"    {one.name}: {reason}" for one in failed for reason in one.reasons]
    return "\n".join([f"{head}; it is not registered", *lines])


def load_failed(model: str, version: str, lines: Sequence[WorkerLine]) -> str:
    """The worker's own error; without one, the last it said."""
    head = f"{model} {version} did not load"
    if error := worker_error(lines):
        return f"{head}: {error}"
    words = last_words(lines)
    if not words:
        return f"{head}: its worker ended without a word"
    return "\n".join([f"{head}: its worker ended without an error; it said last", *_indent(words)])


def load_late(
    model: str, version: str, seconds: float, reasons: Sequence[str], lines: Sequence[WorkerLine]
) -> str:
    """Too slow, or never ready: what its doors said, else the worker's last words."""
    head = f"{model} {version} was not ready within {seconds:.0f} s"
    said = list(dict.fromkeys(reason for reason in reasons if reason))
    return "\n".join([head, *_indent(said or last_words(lines, 4))])


def _indent(lines: Sequence[str]) -> list[str]:
    return [f"    {line}" for line in lines]
