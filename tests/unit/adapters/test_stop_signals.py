"""No signal that asks to stop is lost, and none counts twice."""

from __future__ import annotations

import signal
import time
import weakref

import pytest

from tslc.adapters.stop_signals import stop_signals


class Interrupted:
    """Its end is when a signal comes: what is raised then is lost."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


def wait() -> None:
    for _ in range(200):
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_signal_interrupts_what_runs_and_its_handler_is_back_then(
    number: signal.Signals,
) -> None:
    # A run under nohup ignores SIGHUP, and then it is left ignored.
    if (before := signal.getsignal(number)) is signal.SIG_IGN:
        pytest.skip("the run ignores this signal")
    with pytest.raises(KeyboardInterrupt), stop_signals():
        signal.raise_signal(number)
        wait()
    assert signal.getsignal(number) is before


def test_a_signal_that_comes_in_a_finalizer_interrupts_after_it() -> None:
    reached = False
    with pytest.raises(KeyboardInterrupt), stop_signals():
        Interrupted()
        reached = True
        wait()
    assert reached


def test_a_signal_that_comes_in_the_callback_of_a_weak_reference_interrupts_after_it() -> None:
    class Kept: ...

    def gone(_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), stop_signals():
        kept = Kept()
        reference = weakref.ref(kept, gone)
        del kept
        wait()
    assert reference() is None


def test_a_second_signal_does_not_interrupt_the_tidying_up() -> None:
    tidied = False
    with pytest.raises(KeyboardInterrupt), stop_signals():
        try:
            signal.raise_signal(signal.SIGTERM)
            wait()
        finally:
            signal.raise_signal(signal.SIGINT)
            tidied = True
    assert tidied
