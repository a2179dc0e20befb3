"""How far a transfer has come."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all."""


def counter(total: int, progress: Progress) -> Callable[[int], None]:
    """Call it with bytes more, from any thread. What had to be moved twice counts once."""
    lock, done = Lock(), 0

    def advance(count: int) -> None:
        nonlocal done
        with lock:
            done = min(done + count, total)
            progress(done, total)

    return advance
