from __future__ import annotations

import pytest
import yaml

from tslc.domain.archive_spec import HubWeights, LocalWeights, draft_spec, parse_spec
from tslc.domain.overrides import apply_overrides
from tslc.errors import BadFile

GOOD = "model: m\nhandler: vllm\nmodel_config: c.yaml\nweights: w\ngolden: g.jsonl\n"


def test_a_spec_says_what_it_says():
    text = GOOD + "extra_files: [a, b/c]\nrequirements: r.txt\n"
    spec = parse_spec(text, "archive.yaml", {})
    assert (spec.model, spec.stock, spec.model_config, spec.golden) == (
        *("m", True),
        *("c.yaml", "g.jsonl"),
    )
    assert (spec.extra_files, spec.requirements) == (("a", "b/c"), "r.txt")
    assert spec.weights == LocalWeights("w")
    assert spec.where("golden") == "line 5, golden"


@pytest.mark.parametrize(
    ("said", "weights"),
    [
        ("hf:org/name@main", HubWeights("org/name", "main")),
        ("hf:org/na.me-1@refs/pr/3", HubWeights("org/na.me-1", "refs/pr/3")),
        ("${A}/x", LocalWeights("/a/x")),
        ("$A/x", LocalWeights("/a/x")),
        ("~/x", LocalWeights("/home/me/x")),
        ("null", None),
        ("", None),
    ],
)
def test_weights_are_a_folder_or_a_revision_of_the_hub(said, weights):
    text = GOOD.replace("weights: w", f"weights: {said}")
    assert parse_spec(text, "s", {"A": "/a", "HOME": "/home/me"}).weights == weights


def test_every_mistake_is_shown_with_its_line_and_a_fix():
    text = (
        "model: 5\nhandler: handler.txt\nmodell_config: c\nweights: hf:org/name\nextra_files: a\n"
    )
    with pytest.raises(BadFile) as refused:
        parse_spec(text, "archive.yaml", {})
    found = {mistake.where: mistake for mistake in refused.value.mistakes}
    assert set(found) == {
        *("line 1, model", "line 2, handler", "line 3, modell_config", "line 4, weights"),
        *("line 5, extra_files", "model_config", "golden"),
    }
    assert found["line 1, model"].fix == 'put it in quotes: "5"'
    assert found["line 3, modell_config"].fix == "write 'model_config'"
    assert all(mistake.fix for mistake in found.values())
    assert "has 7 mistakes" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not a mapping"),
        ("- a\n", "not a mapping"),
        ("a: [\n", "not YAML"),
        ("\x00", "not YAML"),
        ("[" * 5000, "nested"),
        (GOOD + "model: again\n", "said twice"),
        (GOOD.replace("weights: w", "weights: ${B}"), "no B"),
        (GOOD.replace("weights: w", "weights: ${}"), "no such variable"),
        (GOOD.replace("golden: g.jsonl", "golden: [g]"), "a list is not a text"),
        (GOOD + "extra_files: [5]\n", "'5' is not a text"),
    ],
)
def test_what_is_no_spec_is_a_mistake(text, problem):
    assert any(problem in mistake.problem for mistake in draft_spec(text, {}).mistakes)


def test_overrides_set_typed_values_and_make_parents():
    text = apply_overrides(
        "a: 1 # one\nhandler:\n",
        ["handler.x.y=5", "handler.t=Be brief.", "b=[1, 2]", "handler.x.z='5'", "e="],
        "c.yaml",
    )
    assert yaml.safe_load(text) == {
        "a": 1,
        "handler": {"x": {"y": 5, "z": "5"}, "t": "Be brief."},
        "b": [1, 2],
        "e": None,
    }


def test_without_overrides_the_text_stays_as_it_is():
    assert apply_overrides("a: 1 # one\n", [], "c.yaml") == "a: 1 # one\n"


def test_every_wrong_override_is_named():
    with pytest.raises(BadFile) as refused:
        apply_overrides("a: 1\n", ["a", "a.b=1", ".=2", "c={"], "c.yaml")
    assert len(refused.value.mistakes) == 4
    for text in ("- a\n", "a: [\n", "d: 2020-13-13\n"):
        with pytest.raises(BadFile):
            apply_overrides(text, ["a=1"], "c.yaml")
