"""The document in the store: what is written is read, what is broken or newer is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tslc.domain.release.changes import promote, read_split, split
from tslc.domain.release.history import at, flaws, steps
from tslc.domain.release.state import Change, EnvironmentState, ModelState, Strategy
from tslc.domain.router.table import ApiKey
from tslc.errors import BadFile, Refused

START = datetime(2026, 1, 1, tzinfo=UTC)


def change(number: int) -> Change:
    when = (START + timedelta(hours=number)).isoformat()
    return Change("anna on laptop", when, f"reason {number}", f"promote m 1.{number}.0")


def story(length: int) -> list[EnvironmentState]:
    """Generations 1 to `length`, each a promotion."""
    states = [EnvironmentState("production")]
    for number in range(1, length + 1):
        before = states[-1].models.get("m")
        models = {"m": promote(before, f"1.{number}.0", Strategy.WARM)}
        states.append(states[-1].following(change(number), models=models))
    return states[1:]


def documents() -> st.SearchStrategy[EnvironmentState]:
    wishes = st.sampled_from(
        [
            read_split(["1.0.0=100"]),
            read_split(["1.0.0=99.5", "1.1.0=0.5"], "header:x-user-id", "2.0.0=5"),
            read_split(["1.0.0=50", "1.1.0=25", "1.2.0=25"], "cookie:session"),
        ]
    )
    models = st.dictionaries(
        st.sampled_from(["a", "b-2", "c.d"]),
        st.builds(lambda wish, kind: split(None, wish, kind), wishes, st.sampled_from(Strategy)),
    )
    keys = st.lists(st.builds(ApiKey, st.just("k"), st.just("0" * 64), st.none() | st.just(60)))
    return st.builds(
        lambda m, k: EnvironmentState("dev").following(change(1), models=m, keys=tuple(k)),
        models,
        keys,
    )


@given(documents())
def test_what_is_written_is_read_as_itself(state: EnvironmentState) -> None:
    assert EnvironmentState.parse(state.render(), "s") == state


def test_the_state_of_a_newer_tslc_is_refused_not_guessed() -> None:
    document = json.loads(story(1)[0].render()) | {"schema": 2, "new": True}
    with pytest.raises(Refused, match=r"newer tslc \(schema 2"):
        EnvironmentState.parse(json.dumps(document).encode(), "s3://b/state.json")


def edited(**changed: object) -> bytes:
    document = json.loads(story(1)[0].render())
    document["models"]["m"] |= changed
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "json"),
        (b"[]", "s has"),
        (edited(segments=[["1.1.0", 9000]]), "they sum to 9000"),
        (edited(segments=[["1.1.0", -1], ["1.1.0", 10001]]), "sum"),
        (edited(segments=[["9.9.9", 10000]]), "not among its versions: 9.9.9"),
        (edited(sticky="x"), "sticky"),
        (edited(versions=["../x", "1.1.0"]), "may hold only"),
        (edited(stickyy=None), "write 'sticky'"),
    ],
)
def test_a_broken_state_is_refused_with_what_is_wrong(content: bytes, said: str) -> None:
    with pytest.raises(BadFile) as wrong:
        EnvironmentState.parse(content, "s")
    assert said.lower() in wrong.value.message.lower()


def test_a_whole_history_has_no_flaw_also_when_its_newest_entry_is_missing() -> None:
    states = story(4)
    entries: dict[int, EnvironmentState | str] = {one.generation: one for one in states}
    assert flaws(entries, states[-1]) == ()
    del entries[4]
    assert flaws(entries, states[-1]) == ()
    assert flaws({}, None) == ()


@given(st.integers(1, 5))
def test_a_missing_entry_is_found(gone: int) -> None:
    states = story(6)
    entries: dict[int, EnvironmentState | str] = {one.generation: one for one in states}
    del entries[gone]
    assert [(one.generation, one.problem) for one in flaws(entries, states[-1])] == [
        (gone, "missing")
    ]


@given(st.integers(1, 6))
def test_an_entry_that_was_changed_by_hand_is_found(number: int) -> None:
    states = story(6)
    entries: dict[int, EnvironmentState | str] = {one.generation: one for one in states}
    model = ModelState(("6.6.6",), states[0].models["m"].segments)
    forged = json.loads(states[number - 1].render())
    forged["change"]["why"] = "another reason"
    entries[number] = EnvironmentState.parse(json.dumps(forged).encode(), "s")
    found = flaws(entries, states[-1])
    assert {one.generation for one in found} <= {number, number + 1}
    assert found
    assert model.versions == ("6.6.6",)


def test_an_entry_beyond_the_state_and_one_that_cannot_be_read_are_found() -> None:
    states = story(3)
    entries: dict[int, EnvironmentState | str] = {one.generation: one for one in states}
    assert flaws(entries, states[1])[0].problem == "beyond the state, which is at generation 2"
    entries[2] = "not JSON"
    assert [one.problem for one in flaws(entries, states[2])] == ["not JSON"]


def test_what_served_at_a_time_is_told() -> None:
    states = story(3)
    assert at(states, START) is None
    found = at(states, START + timedelta(hours=2, minutes=30))
    assert found is not None
    assert found.models["m"].stable == "1.2.0"


def test_each_step_tells_what_it_changed_and_keys_by_name_only() -> None:
    first, second = story(2)
    third = second.following(change(3), keys=(ApiKey("shop", "ab" * 32),))
    told = [step.changed for step in steps([first, second, third])]
    assert told[0] == {"m": ("1.1.0: not loaded → 100%",)}
    assert told[1] == {"m": ("1.1.0: 100% → loaded, no traffic", "1.2.0: not loaded → 100%")}
    assert told[2] == {"(keys)": ("shop: new",)}
