"""Memory of weights and KV cache, against numbers that are published."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_facts import LLAMA_8B, LLAMA_70B, SMOLLM2_135M
from tslc.domain.gpus import GIB, GPUS, parse_size
from tslc.domain.memory import (
    Architecture,
    WeightsFacts,
    kv_bytes_per_token,
    kv_bytes_per_token_per_gpu,
    kv_room,
    parameters,
    read_architecture,
    weights_bytes,
)


def known(config: dict[str, object]) -> Architecture:
    found = read_architecture(config)
    assert found is not None
    return found


def test_parameters_are_those_of_the_model_cards() -> None:
    assert parameters(known(LLAMA_8B)) == 8_030_261_248
    assert parameters(known(LLAMA_70B)) == 70_553_706_496
    assert parameters(known(SMOLLM2_135M)) == 134_515_008


def test_a_token_of_context_takes_two_layers_heads_and_dimensions_of_bytes() -> None:
    assert kv_bytes_per_token(known(LLAMA_8B)) == 2 * 32 * 8 * 128 * 2 == 131_072
    assert kv_bytes_per_token(known(LLAMA_70B)) == 327_680
    assert kv_bytes_per_token(known(LLAMA_8B), cache_dtype="fp8") == 65_536
    assert kv_bytes_per_token(known(LLAMA_8B), dtype="float32") == 262_144
    assert kv_bytes_per_token(known(LLAMA_8B), cache_dtype="turboquant_k8v4") is None


def test_weights_take_what_vllm_was_seen_to_load() -> None:
    size = weights_bytes(WeightsFacts(known(LLAMA_8B), None))
    assert size is not None
    assert size / GIB == pytest.approx(14.96, abs=0.01)


def test_a_four_bit_70b_takes_what_its_published_files_take() -> None:
    awq = LLAMA_70B | {"quantization_config": {"quant_method": "awq", "bits": 4}}
    size = weights_bytes(WeightsFacts(known(awq), None))
    assert size is not None
    assert size / 1e9 == pytest.approx(39.8, abs=0.1)


def test_the_files_count_where_they_are_there() -> None:
    assert weights_bytes(WeightsFacts(known(LLAMA_8B), 1000)) == 1000
    assert weights_bytes(WeightsFacts(known(LLAMA_8B), 1000), dtype="float32") == 2000
    assert weights_bytes(WeightsFacts(None, 1000)) == 1000
    assert weights_bytes(WeightsFacts(None, None)) is None


def test_quantising_while_loading_keeps_the_embeddings() -> None:
    full = weights_bytes(WeightsFacts(known(LLAMA_8B), None))
    half = weights_bytes(WeightsFacts(known(LLAMA_8B), None), bits=8)
    assert full is not None
    assert half is not None
    assert half == full - (8_030_261_248 - 2 * 128_256 * 4096)


def test_experts_are_not_counted_by_a_formula_that_does_not_know_them() -> None:
    experts = known(LLAMA_8B | {"num_local_experts": 8})
    assert weights_bytes(WeightsFacts(experts, None)) is None
    assert weights_bytes(WeightsFacts(experts, 1000)) == 1000


@pytest.mark.parametrize(
    "other",
    [
        {"kv_lora_rank": 512},
        {"mamba_d_state": 16},
        {"layer_types": ["full_attention", "linear_attention"]},
        {"num_hidden_layers": None},
        {"hidden_size": "4096"},
    ],
)
def test_an_architecture_with_another_cache_is_refused(other: dict[str, object]) -> None:
    assert read_architecture(LLAMA_8B | other) is None


def test_the_text_model_of_a_multi_modal_one_counts() -> None:
    nested = {"torch_dtype": "bfloat16", "text_config": LLAMA_8B, "vision_config": {}}
    assert read_architecture(nested) == known(LLAMA_8B)


def test_heads_are_split_among_gpus_and_copied_past_their_number() -> None:
    a = known(LLAMA_8B)
    assert kv_bytes_per_token_per_gpu(a, 131_072, tensor_parallel=4) == 32_768
    assert kv_bytes_per_token_per_gpu(a, 131_072, tensor_parallel=16) == 16_384
    assert kv_bytes_per_token_per_gpu(a, 131_072, tensor_parallel=1, pipeline_parallel=2) == 65_536


def test_bits_are_read_from_every_kind_of_quantization_config() -> None:
    def bits(section: dict[str, object]) -> float | None:
        found = known(LLAMA_8B | {"quantization_config": section}).quantization
        return found.bits if found else None

    assert bits({"quant_method": "gptq", "bits": 8}) == 8
    assert bits({"quant_method": "fp8"}) == 8
    groups = {"group_0": {"weights": {"num_bits": 4}}}
    assert bits({"quant_method": "compressed-tensors", "config_groups": groups}) == 4
    assert bits({"quant_method": "something-new"}) is None


@given(st.integers(2**33, 2**38), st.floats(0.1, 1.0), st.integers(0, 2**38), st.integers(1, 8))
def test_more_memory_or_more_gpus_never_leave_less_room(
    memory: int, share: float, weights: int, gpus: int
) -> None:
    def room(memory: int, gpus: int) -> int:
        return kv_room(gpu_memory=memory, utilization=share, weights=weights, gpus=gpus)

    assert room(memory, gpus) <= room(memory * 2, gpus)
    assert room(memory, gpus) <= room(memory, gpus * 2)


def test_sizes_are_read_as_people_write_them() -> None:
    assert parse_size("80GiB") == parse_size("80G") == parse_size("80 gib") == 80 * GIB
    assert parse_size("80GB") == 80_000_000_000
    assert parse_size("1024") == 1024
    assert parse_size("eighty") is None
    assert GPUS["l4"] < 24 * GIB


@given(st.dictionaries(st.sampled_from(sorted(LLAMA_8B)), st.integers() | st.text() | st.none()))
def test_reading_an_architecture_never_raises(config: dict[str, object]) -> None:
    read_architecture(LLAMA_8B | config)
