"""`tslc lint` on any text whatever."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from lint_inputs import GOOD, cards, facts, lint, rules
from model_facts import LLAMA_8B
from tslc.domain.lint_rules import RULES
from tslc.domain.memory import WeightsFacts

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
KEYS = [*RULES, "handler", "minWorkers", "torchrun", "vllm_engine_config", "environment", "rag"]
KEYS += ["parallelLevel", "deviceType", "tensor_parallel_size", "max_model_len", "<<", "dtype"]
documents = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=5)
    ),
    max_leaves=20,
)
# fmt: off
YAML_PARTS = st.sampled_from([
    "&a ", "*a", "<<: ", "[", "]", "{", "}", ": ", "- ", "\n", "\n  ", "!!int ",
    "!!bool x", "? ", "!!timestamp x", "=", "handler", "1:2", "0b_", "%YAML 9.9", "---\n",
    ">\n", "# tslc: allow ", "gpu-count", "!x ", "!!set {a}", "!!binary x", "2001-99-99",
    "\t", "'", "\"\\UFFFFFFFF\"",
])
# fmt: on


@given(st.text(max_size=60) | st.lists(YAML_PARTS, max_size=14).map("".join))
@settings(max_examples=400, deadline=None)
def test_linting_never_raises_whatever_the_text(text: str) -> None:
    for finding in lint(text, facts(LLAMA_8B), cards("l4")):
        assert finding.rule in RULES
        assert finding.line >= 1
        assert finding.fix


@given(documents)
@settings(max_examples=300, deadline=None)
def test_linting_never_raises_whatever_the_values(document: object) -> None:
    text = json.dumps(document)
    for weights in (None, facts(LLAMA_8B), WeightsFacts(None, 5)):
        assert all(finding.rule in RULES for finding in lint(text, weights, cards("l4")))
    nested = json.dumps({"handler": {"vllm_engine_config": document}})
    assert lint(nested, facts(LLAMA_8B), cards("l4"))


def test_aliases_that_contain_themselves_or_multiply_are_no_trouble() -> None:
    assert rules("a: &a [*a]") == ["yaml"]
    assert rules("a: &a {<<: *a}") == ["yaml"]
    bomb = "a0: &a0 [x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30)
    )
    assert "unknown-key" in rules(bomb)
    assert rules("[" * 5000) == ["yaml"]


def test_merged_keys_count_as_written() -> None:
    merged = GOOD.replace("minWorkers: 1\n", "<<: &base {minWorkers: 1}\n")
    assert rules(merged) == []
