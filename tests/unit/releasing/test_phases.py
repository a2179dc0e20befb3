"""The phases of a release, and the split of each."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tslc.domain.releasing.bake import Bake
from tslc.domain.releasing.document import Release, State
from tslc.domain.releasing.phases import (
    Baking,
    Evaluate,
    Load,
    Pause,
    Promote,
    Split,
    phases,
    shares_at,
)
from tslc.domain.releasing.plan_file import Gates, parse_plan
from tslc.domain.router.table import WHOLE

PLAN = parse_plan("evaluate: {}\nsteps: [{split: 1%, bake: 5s}, {split: 50%, pause: true}]", "p")


def test_from_the_plan() -> None:
    assert phases(PLAN, first=False) == (
        Load(),
        Evaluate(),
        Split(100),
        Baking(5.0, Gates()),
        Split(5000),
        Pause(),
        Promote(),
    )
    assert phases(PLAN, first=True) == (Promote(), Evaluate())
    stay = parse_plan("steps: [{split: 5%}]\nthen: stay", "p")
    assert phases(stay, first=False) == (Load(), Split(500))


@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(0, 100), min_size=1).filter(
        lambda shares: any(shares.values())
    ),
    st.integers(1, WHOLE),
)
def test_the_new_version_gets_its_share_and_the_others_keep_their_proportions(
    weights: dict[str, int], share: int
) -> None:
    found = shares_at(Split(share), weights, "new")
    assert sum(found.values()) == WHOLE
    assert found["new"] == share
    total = sum(weights.values())
    for version, weight in weights.items():
        assert abs(found.get(version, 0) - weight * (WHOLE - share) / total) <= 1


def test_loading_changes_nobodys_share() -> None:
    assert shares_at(Load(), {"a": 9000, "b": 1000}, "new") == {"a": 9000, "b": 1000, "new": 0}
    assert shares_at(Promote(), {"a": WHOLE}, "new") == {"new": WHOLE}
    assert shares_at(Promote(), None, "new") == {"new": WHOLE}


def test_a_release_is_written_and_read() -> None:
    release = Release(
        *("id", "prod", "m", "2", PLAN, "ann on x", "why", "bob on y", "t0", "t1", {"1": WHOLE}),
        shares={"1": 9900, "2": 100},
        data={"q.jsonl": "…"},
        bake=Bake("t1"),
    ).told("t1", "begun")
    assert Release.parse(release.render(), "x") == release
    ended = release.ended("t2", State.TAKEN_BACK, "too slow")
    assert Release.parse(ended.render(), "x") == ended
    assert ended.story[-1].what == "taken back: too slow"
