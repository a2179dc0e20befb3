"""Single settings changed from the outside, with what the file says kept."""

from __future__ import annotations

import pytest
import yaml

from tslc.domain.config_document import ConfigDocument, read_document, with_settings


def changed(text: str, *assignments: str) -> ConfigDocument:
    document, mistakes = with_settings(read_document(text), assignments)
    assert mistakes == ()
    return document


def test_settings_are_typed_and_their_parents_made() -> None:
    document = changed(
        "a: 1 # one\nhandler:\n",
        *("handler.x.y=5", "handler.t=Be brief.", "b=[1, 2]", "handler.x.z='5'", "e="),
    )
    assert yaml.safe_load(document.text) == {
        "a": 1,
        "handler": {"x": {"y": 5, "z": "5"}, "t": "Be brief."},
        "b": [1, 2],
        "e": None,
    }


def test_without_a_change_the_text_stays_as_it_is() -> None:
    assert changed("a: 1 # one\n").text == "a: 1 # one\n"


def test_what_shares_a_value_by_an_anchor_does_not_change_with_it() -> None:
    document = changed("a: &x {b: 1}\nc: *x\nd:\n  <<: *x\n", "a.b=2", "d.b=3")
    assert yaml.safe_load(document.text) == {"a": {"b": 2}, "c": {"b": 1}, "d": {"b": 3}}


def test_a_key_that_is_no_text_stays_what_it_is() -> None:
    assert yaml.safe_load(changed("1: {x: 1}\n", "1.x=2").text) == {1: {"x": 2}}


def test_lines_and_duplicates_of_the_source_stay_known() -> None:
    document = changed("a: 1\nb:\n  c: 1\n  c: 2\n", "b.c=3", "b.d.e=4")
    assert [twice.path for twice in document.duplicates] == [("b", "c")]
    assert document.root.line_of("b", "c") == 4
    assert document.root.line_of("b", "d", "e") == 2


def test_the_place_of_a_changed_setting_is_the_option() -> None:
    document = changed("a: 1\nb:\n  c-d: 1\n", "b.c-d=3", "e={f: 1}")
    assert document.place("x.yaml", "b") == "x.yaml:2 b"
    assert document.place("x.yaml", "b", "c_d") == "--set b.c-d"
    assert document.place("x.yaml", "e", "f") == "--set e, e.f"


@pytest.mark.parametrize(
    "said",
    [
        *("a", "a.b=1", ".=2", "c={", "c=!!bool x", 'c="\\UFFFFFFFF"', "c=!!timestamp x"),
        *('c=!!int ""', "c=2020-13-13", "c={x: 1, x: 2}", "c=!!set {a}", "c=" + "[" * 5000),
    ],
)
def test_what_can_not_be_set_is_a_mistake_and_the_others_are_set(said: str) -> None:
    document, mistakes = with_settings(read_document("a: 1\n"), ["d=1", said, "e=2"])
    assert len(mistakes) == 1
    assert mistakes[0].where == f"--set {said}"
    assert document.root.value == {"a": 1, "d": 1, "e": 2}


@pytest.mark.parametrize("text", ["", "- a\n", "a: [\n", "d: 2020-13-13\n", 'a: "\\UFFFFFFFF"\n'])
def test_a_text_that_is_no_mapping_is_left_as_it_is(text: str) -> None:
    document, mistakes = with_settings(read_document(text), ["a=1", "b"])
    assert document.problem
    assert document.text == text
    assert len(mistakes) == 1
