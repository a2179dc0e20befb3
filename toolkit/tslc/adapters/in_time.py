"""Answers of many, side by side, as far as they come in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from tslc.errors import TslcError

T = TypeVar("T")


@dataclass
class InTime(Generic[T]):
    """Begins all questions at once; an answer that fails with a TslcError is none."""

    questions: Sequence[Callable[[], T]]
    _answers: SimpleQueue[tuple[int, T | None]] = field(default_factory=SimpleQueue)

    def __post_init__(self) -> None:
        for number, question in enumerate(self.questions):
            # Nobody waits for a late one, at the end of the process neither.
            threading.Thread(target=self._ask, args=(number, question), daemon=True).start()

    def _ask(self, number: int, question: Callable[[], T]) -> None:
        answer: T | None = None
        try:
            answer = question()
        except TslcError:
            return
        finally:
            self._answers.put((number, answer))

    def answers(self, seconds: float) -> list[T | None]:
        """In the order of the questions; None for what failed or is late."""
        found: list[T | None] = [None] * len(self.questions)
        deadline = time.monotonic() + seconds
        for _ in self.questions:
            try:
                number, answer = self._answers.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                break
            found[number] = answer
        return found
