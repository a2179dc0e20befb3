"""Time, for those who wait: deadlines, pauses, the hour of the day."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Deadline:
    """Seconds from now on."""

    seconds: float
    _start: float = field(default_factory=time.monotonic)

    @property
    def spent(self) -> float:
        return time.monotonic() - self._start

    @property
    def left(self) -> float:
        return self.seconds - self.spent

    def rounds(self, pause: float) -> Iterator[float]:
        """The seconds left, again and again with pauses between; at last, once, 0."""
        while (left := self.left) > 0:
            yield left
            time.sleep(max(0.0, min(pause, self.left)))
        yield 0.0


def wait_until(true: Callable[[], bool], seconds: float, pause: float = 0.05) -> bool:
    """Whether the condition came true in time."""
    return any(true() for _ in Deadline(seconds).rounds(pause))
