"""Laws of shares: they sum up, and users stay where they are when they can."""

from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tslc.domain.release.shares import (
    WrongShare,
    read_share,
    reassign,
    scaled,
    share_text,
    shares_of,
)
from tslc.domain.router.table import WHOLE, Segment

NAMES = ("1.0.0", "1.1.0", "1.2.0", "2.0.0")


@st.composite
def splits(draw: st.DrawFn) -> dict[str, int]:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    cuts = sorted(draw(st.lists(st.integers(0, WHOLE), min_size=len(names) - 1,
                                max_size=len(names) - 1)))  # fmt: skip
    edges = [0, *cuts, WHOLE]
    return {name: edges[i + 1] - edges[i] for i, name in enumerate(names)}


def slots(segments: tuple[Segment, ...]) -> list[str]:
    return [one.version for one in segments for _ in range(one.weight)]


def non_zero(shares: dict[str, int]) -> dict[str, int]:
    return {version: share for version, share in shares.items() if share}


@given(st.lists(splits(), min_size=1, max_size=6))
def test_after_any_changes_each_version_has_the_share_asked_for(
    changes: list[dict[str, int]],
) -> None:
    segments: tuple[Segment, ...] = ()
    for shares in changes:
        segments = reassign(segments, shares)
        assert shares_of(segments) == non_zero(shares)
        assert sum(one.weight for one in segments) == WHOLE
        assert all(one.weight > 0 for one in segments)


@given(st.lists(splits(), min_size=2, max_size=6))
def test_no_user_is_moved_off_a_version_whose_share_did_not_shrink(
    changes: list[dict[str, int]],
) -> None:
    segments = reassign((), changes[0])
    for before, after in pairwise(changes):
        then, segments = slots(segments), reassign(segments, after)
        for was, now in zip(then, slots(segments), strict=True):
            assert was == now or after.get(was, 0) < before[was]


@given(st.lists(splits(), min_size=2, max_size=6))
def test_no_more_users_move_than_have_to(changes: list[dict[str, int]]) -> None:
    segments = reassign((), changes[0])
    for before, after in pairwise(changes):
        then, segments = slots(segments), reassign(segments, after)
        moved = sum(was != now for was, now in zip(then, slots(segments), strict=True))
        assert moved == sum(max(0, held - after.get(name, 0)) for name, held in before.items())


@given(st.lists(st.integers(0, WHOLE), min_size=2, max_size=8))
def test_between_two_versions_there_is_one_border_whatever_was_done(raised: list[int]) -> None:
    segments = reassign((), {"1.0.0": WHOLE})
    for share in raised:
        segments = reassign(segments, {"1.0.0": WHOLE - share, "1.1.0": share})
        assert len(segments) <= 2


def test_a_canary_that_grew_and_shrank_has_its_first_users_again() -> None:
    first = reassign((Segment("1.0.0", WHOLE),), {"1.0.0": 9000, "1.1.0": 1000})
    grown = reassign(first, {"1.0.0": 5000, "1.1.0": 5000})
    assert grown == (Segment("1.0.0", 5000), Segment("1.1.0", 5000))
    assert reassign(grown, {"1.0.0": 9000, "1.1.0": 1000}) == first


@given(st.integers(0, WHOLE))
def test_a_share_that_is_written_is_read_as_itself(share: int) -> None:
    assert read_share(share_text(share)) == share


@pytest.mark.parametrize("text", ["", "%", "-1", "1.234", "101", "ten", "1e2", "100.01", "1,5"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(WrongShare):
        read_share(text)


@given(st.dictionaries(st.sampled_from(NAMES), st.integers(0, WHOLE), min_size=1))
def test_scaled_shares_sum_up_and_stay_in_proportion(shares: dict[str, int]) -> None:
    total = sum(shares.values())
    if not total:
        with pytest.raises(ValueError, match="nothing"):
            scaled(shares)
        return
    found = scaled(shares)
    assert sum(found.values()) == WHOLE
    for version, share in shares.items():
        assert abs(found[version] - share * WHOLE / total) < 1


def test_the_slots_are_the_whole_ring() -> None:
    segments = reassign((), {"1.0.0": 9950, "1.1.0": 50})
    assert list(accumulate(one.weight for one in segments))[-1] == WHOLE
