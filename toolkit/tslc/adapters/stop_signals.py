"""Ctrl-C, SIGTERM and a closed terminal all mean: stop, and tidy up."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AGAIN_SECONDS = 0.02


@contextlib.contextmanager
def stop_signals() -> Iterator[None]:
    """Each of them raises KeyboardInterrupt, once: while things are tidied up, no other counts.

    An exception in a finalizer or in the callback of a weak reference is lost, Python only prints
    it: one of ours is raised again then.
    """
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    hook = sys.unraisablehook

    def stop(number: int, frame: FrameType | None) -> None:
        for other in _SIGNALS:
            signal.signal(other, signal.SIG_IGN)
        raise KeyboardInterrupt

    def lost(found: sys.UnraisableHookArgs) -> None:
        if not issubclass(found.exc_type, KeyboardInterrupt):
            hook(found)
            return
        signal.signal(signal.SIGALRM, stop)
        # Not at once: what is raised in here is lost, too.
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)

    for number, handler in before.items():
        # nohup asks that a closed terminal be no matter.
        if handler is not signal.SIG_IGN:
            signal.signal(number, stop)
    sys.unraisablehook = lost
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """What is begun in here is finished: none of the signals counts meanwhile."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
