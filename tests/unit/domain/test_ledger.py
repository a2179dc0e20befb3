"""Totals that only grow, of counts that vanish."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tslc.domain.node_metrics.ledger import KEEP, Ledger, Reading


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 9)), min_size=1))
def test_a_total_never_shrinks_whatever_vanishes(looks: list[dict[str, int]]) -> None:
    ledger, before = Ledger(), 0.0
    for now, look in enumerate(looks):
        ledger.take([Reading(name, ("x",), value) for name, value in look.items()], float(now))
        total = ledger.totals.get(("x",), 0.0)
        assert total >= before
        before = total


def test_what_was_counted_before_the_first_look_is_not_counted() -> None:
    ledger = Ledger()
    for value_ in (1000, 1003, 2):  # the last one after a restart
        ledger.take([Reading("a", ("x",), value_)], 0.0)
    assert ledger.totals == {("x",): 5}


def test_a_series_is_forgotten_a_while_after_its_last_source() -> None:
    ledger = Ledger()
    ledger.take([Reading("a", ("x",), 1)], 0.0)
    ledger.take([], KEEP)
    assert ("x",) in ledger.totals
    ledger.take([], KEEP + 1)
    assert not ledger.totals
