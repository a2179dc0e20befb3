"""Every rule of `tslc lint` fires on its mistake, and is silent on a config without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lint_inputs import FIELDS, GOOD, cards, facts, lint, rules
from model_facts import AWQ, LLAMA_8B, LLAMA_70B
from tslc.domain.config_document import read_document, with_settings
from tslc.domain.lint import check_document, counts
from tslc.domain.lint_rules import RULES, Severity

ROOT = Path(__file__).parents[3]

# rule -> (what of GOOD is replaced, by what); one change, one finding
MISTAKES = {
    "yaml": ("minWorkers: 1\n", "minWorkers: [1\n"),
    "duplicate-key": ("minWorkers: 1\n", "minWorkers: 1\nminWorkers: 1\n"),
    "allow-comment": ("jobQueueSize: 1000", "jobQueueSize: 1000 # tslc: allow job-queue"),
    "unknown-key": ("max_model_len", "max_model_length"),
    "wrong-type": ("jobQueueSize: 1000", 'jobQueueSize: 1000\nresponseTimeout: "60"'),
    "bad-value": ("jobQueueSize: 1000", "jobQueueSize: 1000\nresponseTimeout: 0"),
    "sync-communication": ("asyncCommunication: true", "asyncCommunication: false"),
    "batching-mode": ("jobQueueSize: 1000", "jobQueueSize: 1000\ncontinuousBatching: true"),
    "batch-size": ("jobQueueSize: 1000", "jobQueueSize: 1000\nbatchSize: 8"),
    "workers": ("maxWorkers: 1\n", ""),
    "worker-copies": ("maxWorkers: 1", "maxWorkers: 2"),
    "parallel-level": ("tensor_parallel_size: 1", "tensor_parallel_size: 2"),
    "parallel-type": ("parallelType: custom", "parallelType: tp"),
    "gpu-choice": ("parallelType: custom\nparallelLevel: 1\n", ""),
    "job-queue-size": ("jobQueueSize: 1000\n", ""),
    "gpu-memory-utilization": ("0.92", "0.8"),
    "overridden-engine-key": (
        "max_model_len: 8192",
        "max_model_len: 8192\n    served_model_name: name",
    ),
    "unversioned-weights": ("max_model_len: 8192", "max_model_len: 8192\n    model: org/name"),
    "startup-timeout": ("startupTimeout: 1800\n", ""),
}


@pytest.mark.parametrize("rule", MISTAKES)
def test_one_mistake_in_a_good_config_is_found_by_its_rule_alone(rule: str) -> None:
    before, after = MISTAKES[rule]
    assert before in GOOD
    assert rules(GOOD.replace(before, after)) == [rule]


def test_a_good_config_has_no_findings() -> None:
    assert lint(GOOD) == ()
    assert lint(GOOD, facts(LLAMA_8B), cards("l4")) == ()


def test_rag_without_prefix_caching_is_found() -> None:
    rag = GOOD + "    enable_prefix_caching: {}\n  rag: {{index: knowledge}}\n"
    assert rules(rag.format("false")) == ["prefix-caching", "unknown-key"]
    assert rules(rag.format("true")) == ["unknown-key"]


@pytest.mark.parametrize(("share", "expected"), [("0.9", 0), ("0.95", 0), ("0.96", 1), ("0.5", 1)])
def test_the_share_of_gpu_memory_belongs_between_90_and_95_percent(
    share: str, expected: int
) -> None:
    assert rules(GOOD.replace("0.92", share)).count("gpu-memory-utilization") == expected


def test_the_share_of_gpu_memory_means_nothing_on_a_cpu() -> None:
    assert rules(GOOD.replace("deviceType: gpu", "deviceType: cpu").replace("0.92", "0.5")) == []


def test_a_rule_is_allowed_by_a_comment_on_the_line_or_the_one_above() -> None:
    on_it = GOOD.replace("0.92", "0.4 # tslc: allow gpu-memory-utilization (a guard shares it)")
    above = GOOD.replace(
        "    gpu_memory_utilization: 0.92",
        "    # tslc: allow gpu-memory-utilization, wrong-type\n\n    gpu_memory_utilization: 0.4",
    )
    elsewhere = GOOD.replace("0.92", "0.4").replace(
        "minWorkers: 1", "minWorkers: 1 # tslc: allow gpu-memory-utilization"
    )
    assert rules(on_it) == rules(above) == []
    assert rules(elsewhere) == ["gpu-memory-utilization"]


def test_a_finding_names_file_line_and_key() -> None:
    (finding,) = lint(GOOD.replace("0.92", "0.8"))
    assert finding.where == "config.yaml:11 handler.vllm_engine_config.gpu_memory_utilization"
    assert (finding.line, finding.severity) == (11, Severity.WARNING)


def test_an_unknown_key_names_the_nearest_valid_one() -> None:
    (finding,) = lint(GOOD.replace("tensor_parallel_size", "tensor_paralel_size"))
    assert "tensor_parallel_size" in finding.fix


def test_a_key_in_the_wrong_section_is_sent_home() -> None:
    (finding,) = lint(GOOD + "    tool_call_parser: hermes\n")
    assert finding.fix == "move it to handler"
    (finding,) = lint(GOOD + "  useVenv: true\n")
    assert finding.fix == "move it to the top level"


def test_engine_keys_may_be_written_with_dashes() -> None:
    assert rules(GOOD.replace("max_model_len", "max-model-len")) == []
    dashed = GOOD.replace("tensor_parallel_size: 1", "tensor-parallel-size: 2")
    assert rules(dashed) == ["parallel-level"]


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("max_num_seqs: many", "wrong-type"),
        ("max_num_seqs: true", "wrong-type"),
        ("enforce_eager: 'yes'", "wrong-type"),
        ("dtype: bf16", "bad-value"),
        ("kv_cache_dtype: fp9", "bad-value"),
        ("max_num_seqs: 0", "bad-value"),
        ("revision: 1234567", "wrong-type"),
    ],
)
def test_engine_values_are_checked_against_vllms_annotations(line: str, rule: str) -> None:
    assert rules(f"{GOOD}    {line}\n") == [rule]


@pytest.mark.parametrize(
    "line",
    [
        "max_num_batched_tokens: 16k",
        "max_num_seqs: null",
        "cpu_offload_gb: 4",
        "compilation_config: {mode: 3}",
        "hf_overrides: '{\"rope_theta\": 1}'",
        "distributed_executor_backend: mp",
    ],
)
def test_engine_values_the_handler_can_read_are_left_alone(line: str) -> None:
    assert rules(f"{GOOD}    {line}\n") == []


def test_values_of_the_environment_are_texts() -> None:
    (finding,) = lint(GOOD + "  environment: {VLLM_CPU_KVCACHE_SPACE: 1}\n")
    assert finding.rule == "wrong-type"
    assert "quotes" in finding.fix


def test_an_endpoint_that_does_not_exist_is_found() -> None:
    (finding,) = lint(GOOD + "  endpoints: [/v1/chat/completion]\n")
    assert finding.rule == "wrong-type"
    assert "/v1/chat/completion" in finding.problem


def test_torchserve_reads_its_words_in_any_case() -> None:
    assert rules(GOOD.replace("deviceType: gpu", "deviceType: GPU")) == []


def test_an_integer_over_32_bits_is_ignored_by_torchserve_and_found_here() -> None:
    assert rules(GOOD.replace("1000", "3000000000")) == ["bad-value"]


def test_every_rule_has_a_test_that_fires_it() -> None:
    fit = {
        "weights-fit",
        "max-model-len",
        "context-length",
        "gpu-count",
        "attention-heads",
        "memory-unknown",
    }
    in_tests_of_the_command = {"archive-spec", "unreadable"}
    assert set(MISTAKES) | fit | in_tests_of_the_command | {"prefix-caching"} == set(RULES)


def test_all_mistakes_of_a_file_are_found_at_once() -> None:
    broken = GOOD
    for rule in ("sync-communication", "batch-size", "workers", "parallel-type", "unknown-key"):
        broken = broken.replace(*MISTAKES[rule])
    assert sum(counts(f, strict=False) for f in lint(broken)) == 5


def test_strict_turns_warnings_into_mistakes_and_notes_never() -> None:
    warned = lint(GOOD.replace("0.92", "0.8").replace("maxWorkers: 1", "maxWorkers: 2"))
    assert len(warned) == 2
    assert not any(counts(f, strict=False) for f in warned)
    assert sum(counts(f, strict=True) for f in warned) == 1


MODELS = {
    "smollm2-135m-cpu.yaml": (None, None),
    "llama-3.1-8b-1gpu.yaml": (LLAMA_8B, cards("l4")),
    "llama-3.1-70b-4gpu.yaml": (LLAMA_70B, cards("a100-80gb", 4)),
    "llama-3.1-70b-awq-2gpu.yaml": (
        LLAMA_70B | AWQ | {"torch_dtype": "float16"},
        cards("a100-40gb", 2),
    ),
    "llama-guard-3-8b-1gpu.yaml": (LLAMA_8B, cards("a10g")),
}


def test_every_model_config_of_the_repository_is_tested_here() -> None:
    assert {path.name for path in (ROOT / "model_configs").glob("*.yaml")} == set(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_the_model_configs_of_the_repository_have_no_findings(name: str) -> None:
    config, hardware = MODELS[name]
    text = (ROOT / "model_configs" / name).read_text()
    assert lint(text, facts(config) if config else None, hardware) == ()


@pytest.mark.parametrize(
    ("named", "rule", "problem"),
    [
        (True, "overridden-engine-key", "no effect"),
        (False, "unversioned-weights", "counts, but"),
        (None, "unversioned-weights", "not versioned"),
    ],
)
def test_weights_of_the_engines_section_count_only_where_the_archive_names_none(
    named: bool | None, rule: str, problem: str
) -> None:
    text = GOOD.replace("max_model_len: 8192", "max_model_len: 8192\n    model: org/name")
    document = read_document(text)
    (found,) = check_document(
        document, "m.yaml", engine_fields=FIELDS, weights=None, weights_named=named
    )
    assert found.rule == rule
    assert problem in found.problem


def test_a_changed_setting_is_named_as_the_option_and_keeps_what_was_allowed() -> None:
    allowed = GOOD.replace("0.92", "0.5 # tslc: allow gpu-memory-utilization")
    key = "handler.vllm_engine_config.gpu_memory_utilization"
    document, _ = with_settings(read_document(allowed), [f"{key}=0.4"])
    assert check_document(document, "m.yaml", engine_fields=FIELDS, weights=None) == ()
    document, _ = with_settings(read_document(GOOD), [f"{key}=0.4"])
    (found,) = check_document(document, "m.yaml", engine_fields=FIELDS, weights=None)
    assert found.where == f"--set {key}"


def test_a_key_written_twice_is_found_whatever_is_changed() -> None:
    document, _ = with_settings(read_document(GOOD + "minWorkers: 1\n"), ["minWorkers=1"])
    (found,) = check_document(document, "m.yaml", engine_fields=FIELDS, weights=None)
    assert found.rule == "duplicate-key"
    assert found.where.startswith("m.yaml:")
