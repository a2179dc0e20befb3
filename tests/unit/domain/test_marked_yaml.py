"""YAML that knows its lines."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tslc.domain.marked_yaml import DuplicateKey, YamlProblem, read_yaml

keys = st.text("abcdefgh", min_size=1, max_size=4).filter(lambda key: key not in ("e", "n", "y"))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(keys, values, max_size=4))
def test_values_are_those_of_the_plain_loader(document: dict[str, object]) -> None:
    for text in (yaml.safe_dump(document), json.dumps(document)):
        node, duplicates = read_yaml(text)
        assert node.value == yaml.safe_load(text)
        assert duplicates == ()


def test_every_key_knows_its_line() -> None:
    node, _ = read_yaml("a: 1\n\n# comment\nb:\n  c: |\n    text\n  d: [1,\n   2]\n")
    assert node.line_of("a") == 1
    assert node.line_of("b", "d") == 7
    assert node.line_of("b", "missing") == 4
    found = node.at("b", "d")
    assert found is not None
    assert found.value == [1, 2]
    assert node.at("b", "d", "e") is None


def test_a_key_written_twice_is_reported_with_both_lines_and_the_last_wins() -> None:
    node, duplicates = read_yaml("a: 1\nb: {c: 1, c: 2}\na: 3\n")
    assert duplicates == (DuplicateKey(("b", "c"), 2, 2), DuplicateKey(("a",), 1, 3))
    assert node.value == {"a": 3, "b": {"c": 2}}


def test_merged_keys_are_overridden_by_own_ones() -> None:
    node, _ = read_yaml("base: &b {x: 1, y: 1}\nit:\n  y: 2\n  <<: *b\n")
    found = node.at("it")
    assert found is not None
    assert found.value == {"x": 1, "y": 2}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        ("- a\n", 1),
        ("a: 1\n b: 2\n", 2),
        ("a: !!python/name:os.system x\n", 1),
        ("a: 1\n? [x]\n: 2\n", 2),
        ("a: 1\n---\nb: 2\n", 2),
        ("a: &x [*x]\n", 1),
        ("a: 1\nb: !!bool maybe\n", 2),
    ],
)
def test_what_is_not_one_plain_mapping_is_a_problem_with_a_line(text: str, line: int) -> None:
    with pytest.raises(YamlProblem) as raised:
        read_yaml(text)
    assert raised.value.line == line
