from __future__ import annotations

import pytest

from tslc.domain.archive_spec import HubWeights, LocalWeights, draft_spec, is_spec

GOOD = "model: m\nhandler: vllm\nmodel_config: c.yaml\nweights: w\ngolden: g.jsonl\n"


def test_a_spec_says_what_it_says():
    text = GOOD + "extra_files: [a, b/c]\nrequirements: r.txt\n"
    draft = draft_spec(text, {})
    spec = draft.spec
    assert draft.mistakes == ()
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
    draft = draft_spec(text, {"A": "/a", "HOME": "/home/me"})
    assert (draft.spec.weights, draft.mistakes) == (weights, ())
    assert not isinstance(weights, HubWeights) or str(weights) == said


def test_every_mistake_is_shown_with_its_line_and_a_fix():
    text = (
        "model: 5\nhandler: handler.txt\nmodell_config: c\nweights: hf:org/name\nextra_files: a\n"
    )
    mistakes = draft_spec(text, {}).mistakes
    found = {mistake.where: mistake for mistake in mistakes}
    assert [found[f"line {n}, {key}"].line for n, key in ((1, "model"), (4, "weights"))] == [1, 4]
    assert set(found) == {
        *("line 1, model", "line 2, handler", "line 3, modell_config", "line 4, weights"),
        *("line 5, extra_files", "model_config", "golden"),
    }
    assert found["line 1, model"].fix == 'put it in quotes: "5"'
    assert found["line 3, modell_config"].fix == "write 'model_config'"
    assert all(mistake.fix for mistake in found.values())
    assert len(mistakes) == 7


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not a mapping"),
        ("- a\n", "not a mapping"),
        ("a: [\n", "not YAML"),
        ('model: "\\UFFFFFFFF"\n', "not YAML"),
        ("model: !!bool x\n", "'x' is not a text"),
        ('golden: !!int ""\n', "'' is not a text"),
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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD, True),
        ("modle: m\nhandler: vllm\nmodel_config: c.yaml\n", True),
        ("minWorkers: 1\nhandler:\n  model_path: x\n", False),
        ("handler: {}\n", False),
        ("- a\n", False),
        ("a: [\n", False),
        ("", False),
    ],
)
def test_a_spec_is_known_by_its_keys(text, expected):
    assert is_spec(text) is expected
