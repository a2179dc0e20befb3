"""`handler.guard`: what counts, and every mistake in one go."""

import pytest

from tslc_handlers.config import ConfigError
from tslc_handlers.guard.policy import UNNAMED, GuardPolicy, Mode, OnError
from tslc_handlers.guard.reading import Reading


def mistakes(**section):
    with pytest.raises(ConfigError) as caught:
        GuardPolicy.parse(section)
    return caught.value.mistakes


def counted(policy, *codes, score=0.9, unsafe=True, more=False):
    return [one.code for one in policy.violations(Reading(unsafe, score, codes, more))]


def test_an_empty_section_means_the_defaults():
    policy = GuardPolicy.parse({})
    assert policy == GuardPolicy()
    assert (policy.mode, policy.on_error, len(policy.categories)) == (
        Mode.ENFORCE,
        OnError.UNAVAILABLE,
        14,
    )


def test_every_mistake_is_told_at_once_with_the_nearest_word():
    told = mistakes(
        mod="monitor",
        mode="enforced",
        on_error="pass",
        threshold=2,
        window_tokens=0,
        timeout_seconds=0,
        audit_text="yes",
        refusal=" ",
        url="guard:8000",
        categories={"S5": "off", "s1": False, "S99": False, "S98": True, "S20": {"nam": "x"}},
    )
    text = "\n".join(told)
    assert len(told) == 15
    assert "did you mean 'mode'" in text
    assert "did you mean 'enforce'" in text
    assert "one of unavailable, refuse" in text
    assert "must begin with http:// or https://" in text
    assert "did you mean 'name'" in text
    assert all("handler.guard." in one for one in told)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, 0, 1e9])
def test_a_timeout_is_a_time(value):
    assert mistakes(timeout_seconds=value)


@pytest.mark.parametrize("value", [float("nan"), -0.1, 1.1])
def test_a_threshold_is_a_probability(value):
    assert mistakes(threshold=value)
    assert mistakes(categories={"S1": {"threshold": value}})
    assert mistakes(categories={"S1": {"threshold": True}})


@pytest.mark.parametrize(
    "value",
    [{"enabled": "false"}, {"enabled": 0}, {"name": 5}, {"name": " "}, {"description": ""}, []],
)
def test_a_category_is_never_left_as_it_is_by_a_slip(value):
    assert mistakes(categories={"S1": value})


def test_turning_every_category_off_is_a_mistake():
    off = {f"S{number}": False for number in range(1, 15)}
    assert "guard nothing" in mistakes(categories=off)[0]


def test_a_category_of_ones_own_needs_a_name_and_a_description():
    assert mistakes(categories={"S20": {"name": "Lamps"}})
    policy = GuardPolicy.parse(
        {"categories": {"S20": {"name": "Lamps", "description": "No lamps.", "threshold": 0.2}}}
    )
    assert [one.code for one in policy.categories][-1] == "S20"
    assert counted(policy, "S20", score=0.3) == ["S20"]


def test_a_category_that_is_off_does_not_count_and_is_not_in_the_prompt():
    policy = GuardPolicy.parse({"categories": {"S5": False, "S6": {"enabled": False}}})
    assert {"S5", "S6"}.isdisjoint(policy.codes)
    assert counted(policy, "S5", "S6") == []
    assert counted(policy, "S5", "S1") == ["S1"]


def test_thresholds_are_the_categorys_or_the_common_one():
    policy = GuardPolicy.parse({"threshold": 0.8, "categories": {"S1": {"threshold": 0.3}}})
    assert counted(policy, "S1", "S2", score=0.5) == ["S1"]
    assert counted(policy, "S1", "S2", score=0.8) == ["S1", "S2"]
    assert policy.lowest_threshold == 0.3


def test_unsafe_without_a_category_counts_whatever_the_threshold():
    policy = GuardPolicy.parse({"threshold": 1})
    assert counted(policy, score=0.1) == [UNNAMED]


def test_a_category_nobody_told_it_of_counts():
    policy = GuardPolicy.parse({"categories": {"S14": False}})
    assert counted(policy, "S77", "S78") == [UNNAMED]


def test_a_list_that_may_go_on_counts_even_if_what_was_read_of_it_is_off():
    policy = GuardPolicy.parse({"categories": {"S5": False}})
    assert counted(policy, "S5", more=True) == [UNNAMED]
    assert counted(policy, "S1", more=True) == ["S1"]


def test_a_safe_said_with_little_certainty_asks_for_categories():
    policy = GuardPolicy.parse({"categories": {"S1": {"threshold": 0.2}}})
    assert policy.wants_codes(Reading(False, 0.25))
    assert not policy.wants_codes(Reading(False, 0.1))
    assert not policy.wants_codes(Reading(True, 0.9))
    assert not GuardPolicy().wants_codes(Reading(False, 0.4))
