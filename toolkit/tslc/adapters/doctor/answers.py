"""Many questions at once, each with a time of its own: what goes wrong with one is its answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Question(Generic[T]):
    """`seconds`: how long its answer is waited for."""

    seconds: float
    ask: Callable[[], T]


@dataclass(frozen=True)
class Late:
    """There was no answer in that time."""

    seconds: float


def answers(questions: Mapping[str, Question[T]]) -> dict[str, T | Late | Exception]:
    """Each question's answer, what it raised, or that it was late; in their order."""
    queues: dict[str, SimpleQueue[T | Exception]] = {name: SimpleQueue() for name in questions}
    began = time.monotonic()
    for name, question in questions.items():
        # Nobody waits for a late one, at the end of the process neither.
        asked = (question.ask, queues[name])
        threading.Thread(target=_ask, args=asked, name=name, daemon=True).start()
    found: dict[str, T | Late | Exception] = {}
    for name, question in questions.items():
        left = question.seconds - (time.monotonic() - began)
        try:
            found[name] = queues[name].get(timeout=max(0.0, left))
        except Empty:
            found[name] = Late(question.seconds)
    return found


def _ask(ask: Callable[[], T], answer: SimpleQueue[T | Exception]) -> None:
    try:
        answer.put(ask())
    except Exception as error:  # noqa: BLE001 - handed on: one that goes wrong stops no other
        answer.put(error)
