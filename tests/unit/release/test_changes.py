"""Split, promote, rollback and retire, as a person would use them."""

from __future__ import annotations

import pytest

from tslc.domain.release.changes import promote, read_split, retire, rollback, split, words_of
from tslc.domain.release.state import ModelState, Strategy
from tslc.domain.router.table import Shadow, Sticky, StickyBy
from tslc.errors import BadFile, BadInput, Refused

WARM, RECREATE = Strategy.WARM, Strategy.RECREATE


def divided(before: ModelState | None, *shares: str, **more: object) -> ModelState:
    strategy = before.strategy if before else WARM
    return split(before, read_split(shares, **more), strategy)  # type: ignore[arg-type]


def serving(*versions: str) -> ModelState:
    """Each promoted after the other."""
    state: ModelState | None = None
    for version in versions:
        state = promote(state, version, WARM)
    assert state is not None
    return state


def test_a_canary_is_rolled_back_to_what_was_stable() -> None:
    canary = divided(serving("1.0.0"), "1.0.0=90", "1.1.0=10")
    assert canary.shares == {"1.0.0": 9000, "1.1.0": 1000}
    back = rollback("m", canary, None)
    assert back.shares == {"1.0.0": 10000}
    assert back.stable == "1.0.0"


def test_a_promotion_keeps_the_version_before_warm_and_drops_the_one_before_that() -> None:
    state = serving("1.0.0", "1.1.0", "1.2.0")
    assert state.shares == {"1.2.0": 10000, "1.1.0": 0}
    assert (state.stable, state.previous) == ("1.2.0", "1.1.0")


def test_a_promotion_is_rolled_back_to_the_version_before_and_the_bad_one_stays_loaded() -> None:
    back = rollback("m", serving("1.0.0", "1.1.0"), None)
    assert back.shares == {"1.0.0": 10000, "1.1.0": 0}


def test_a_second_rollback_does_not_go_back_to_the_bad_version() -> None:
    back = rollback("m", serving("1.0.0", "1.1.0"), None)
    with pytest.raises(Refused) as refused:
        rollback("m", back, None)
    assert refused.value.hint == "tslc rollback m --to 1.1.0"
    assert rollback("m", back, "1.1.0").shares["1.1.0"] == 10000


def test_an_aborted_canary_leaves_the_way_back_of_the_stable_version() -> None:
    canary = divided(serving("1.0.0", "1.1.0"), "1.1.0=90", "1.2.0=10")
    back = rollback("m", canary, None)
    assert (back.stable, back.previous) == ("1.1.0", "1.0.0")
    assert rollback("m", back, None).shares["1.0.0"] == 10000


def test_without_a_version_that_had_it_all_there_is_nothing_to_roll_back_to() -> None:
    with pytest.raises(Refused, match="no version of m had all traffic"):
        rollback("m", divided(None, "1.0.0=50", "1.1.0=50"), None)
    with pytest.raises(Refused, match="no version before it"):
        rollback("m", serving("1.0.0"), None)
    with pytest.raises(BadInput):
        rollback("m", None, None)


def test_with_recreate_nothing_but_what_has_traffic_is_loaded() -> None:
    state = promote(serving("1.0.0"), "1.1.0", RECREATE)
    assert state.versions == ("1.1.0",)
    assert state.previous == "1.0.0"
    back = rollback("m", state, None)
    assert (back.versions, back.strategy) == (("1.0.0",), RECREATE)


def test_stickiness_and_shadow_stay_until_they_are_taken_away() -> None:
    state = divided(serving("1.0.0"), "1.0.0=100", sticky="header:X-User-Id", shadow="1.2.0=5%")
    assert state.sticky == Sticky(StickyBy.HEADER, "x-user-id")
    assert state.shadow == Shadow("1.2.0", 500)
    assert state.versions == ("1.0.0", "1.2.0")
    later = divided(state, "1.0.0=90", "1.1.0=10")
    assert (later.sticky, later.shadow) == (state.sticky, state.shadow)
    none = divided(later, "1.0.0=100", no_sticky=True, no_shadow=True)
    assert (none.sticky, none.shadow) == (None, None)


def test_a_shadow_that_is_promoted_is_a_shadow_no_longer() -> None:
    state = divided(serving("1.0.0"), "1.0.0=100", shadow="1.1.0=50")
    assert promote(state, "1.1.0", WARM).shadow is None
    with pytest.raises(Refused, match="can't be the shadow of itself"):
        divided(state, "1.0.0=50", "1.1.0=50")


def test_a_version_with_traffic_is_not_retired_unless_forced() -> None:
    canary = divided(serving("1.0.0"), "1.0.0=90", "1.1.0=10")
    with pytest.raises(Refused, match=r"1\.1\.0 has 10% of the traffic"):
        retire("m", canary, "1.1.0", force=False)
    forced = retire("m", canary, "1.1.0", force=True)
    assert forced is not None
    assert forced.shares == {"1.0.0": 10000}
    assert retire("m", forced, "1.0.0", force=True) is None
    with pytest.raises(BadInput, match=r"only 1\.0\.0, 1\.1\.0") as unknown:
        retire("m", canary, "1.1.1", force=False)
    assert unknown.value.hint == "tslc retire m 1.1.0"


def test_a_warm_version_is_retired_and_is_no_way_back_any_more() -> None:
    state = retire("m", serving("1.0.0", "1.1.0"), "1.0.0", force=False)
    assert state is not None
    assert (state.versions, state.previous) == (("1.1.0",), None)


def test_every_mistake_of_a_split_is_told_in_one_go() -> None:
    with pytest.raises(BadFile) as wrong:
        read_split(["1.0.0", "1.1.0=x", "1.2.0=10", "1.2.0=10"], "user-id", "9=101")
    said = wrong.value.message
    for part in (
        "1.0.0: no version",
        "1.1.0=x",
        "1.2.0 has a share",
        "'user-id'",
        "--shadow 9=101",
    ):
        assert part in said
    with pytest.raises(BadFile, match=r"60% \+ 30% is 90%, not 100%"):
        read_split(["1.0.0=60", "1.1.0=30"])


def test_what_changes_is_told_in_a_line_each() -> None:
    before = serving("1.0.0")
    after = divided(before, "1.0.0=99.5", "1.1.0=0.5", sticky="cookie:session")
    assert words_of(before, after) == (
        "1.0.0: 100% → 99.5%",
        "1.1.0: not loaded → 0.5%",
        "sticky by cookie:session",
    )
    assert words_of(before, before) == ()
    assert words_of(before, None) == ("it is served no longer",)
