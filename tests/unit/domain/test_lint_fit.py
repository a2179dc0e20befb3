"""The rules of `tslc lint` that know the model and the GPUs: does it fit, is it fast enough."""

from __future__ import annotations

from lint_inputs import GOOD, cards, facts, lint, rules
from model_facts import AWQ, LLAMA_8B, LLAMA_70B


def test_a_model_that_needs_more_than_its_gpu_is_told_the_ways_out() -> None:
    (finding,) = lint(GOOD, facts(LLAMA_70B), cards("a100-80gb"))
    assert finding.rule == "weights-fit"
    assert "2 such GPUs and tensor_parallel_size: 2" in finding.fix
    assert "use a model quantised to 8 bits" in finding.fix
    (finding,) = lint(GOOD, facts(LLAMA_70B), cards("a100-80gb", 4))
    assert "use tensor_parallel_size: 2 with" in finding.fix
    (finding,) = lint(GOOD.replace("8192", "32768"), facts(LLAMA_70B), cards("a100-80gb"))
    assert "4 bits" in finding.fix, "8 bits would leave too little for the longest request"


def test_the_same_model_fits_quantised() -> None:
    assert rules(GOOD, facts(LLAMA_70B | AWQ), cards("a100-80gb")) == []


def test_a_longer_request_than_the_cache_holds_is_found() -> None:
    whole = GOOD.replace("    max_model_len: 8192\n", "")
    (finding,) = lint(whole, facts(LLAMA_8B), cards("l4"))
    assert finding.rule == "max-model-len"
    assert "131072 tokens, the model's whole context" in finding.problem
    assert rules(whole, facts(LLAMA_8B), cards("h100")) == []


def test_the_cache_of_a_cpu_is_what_its_environment_says() -> None:
    cpu = GOOD.replace("deviceType: gpu", "deviceType: cpu")
    space = '  environment: {{VLLM_CPU_KVCACHE_SPACE: "{}"}}\n'
    assert rules(cpu + space.format(1), facts(LLAMA_8B)) == []
    assert rules(cpu.replace("8192", "9000") + space.format(1), facts(LLAMA_8B)) == [
        "max-model-len"
    ]


def test_vllm_may_be_left_to_choose_the_length() -> None:
    assert rules(GOOD.replace("8192", "-1"), facts(LLAMA_8B), cards("l4")) == []


def test_more_context_than_the_model_was_made_for_is_found() -> None:
    longer = GOOD.replace("8192", "200000")
    assert rules(longer, facts(LLAMA_8B)) == ["context-length"]
    assert rules(longer + "    hf_overrides: {rope_scaling: {}}\n", facts(LLAMA_8B)) == []


def test_more_gpus_than_there_are_is_found() -> None:
    four = GOOD.replace("parallelLevel: 1", "parallelLevel: 4").replace(
        "tensor_parallel_size: 1", "tensor_parallel_size: 4"
    )
    assert rules(four, facts(LLAMA_70B), cards("a100-80gb", 2)) == ["gpu-count"]
    assert rules(four, facts(LLAMA_70B), cards("a100-80gb", 4)) == []


def test_two_workers_are_no_remark_where_each_has_its_gpu() -> None:
    assert rules(GOOD.replace("maxWorkers: 1", "maxWorkers: 2"), None, cards("l4", 2)) == []


def test_tensor_parallelism_that_does_not_divide_the_heads_is_found() -> None:
    three = GOOD.replace("parallelLevel: 1", "parallelLevel: 3").replace(
        "tensor_parallel_size: 1", "tensor_parallel_size: 3"
    )
    assert rules(three, facts(LLAMA_8B)) == ["attention-heads"]


def test_a_startup_timeout_too_short_for_the_weights_names_the_seconds() -> None:
    (finding,) = lint(GOOD.replace("1800", "300"), facts(LLAMA_70B))
    assert finding.rule == "startup-timeout"
    assert "800" in finding.fix
    assert rules(GOOD.replace("1800", "300"), facts(LLAMA_8B)) == []


def test_an_architecture_that_is_not_known_is_said_so() -> None:
    assert rules(GOOD, facts(LLAMA_8B | {"kv_lora_rank": 512}), cards("l4")) == ["memory-unknown"]
