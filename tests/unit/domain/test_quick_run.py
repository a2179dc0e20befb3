"""The model config of a quick run: the launcher's, mended for the machine it runs on."""

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from model_facts import LLAMA_8B
from tslc.domain.archive_spec import HubWeights, draft_spec
from tslc.domain.golden import parse_golden
from tslc.domain.gpus import GIB
from tslc.domain.memory import WeightsFacts, read_architecture
from tslc.domain.quick_run import (
    CPU_OVERHEAD,
    MOST_CPU_SPACE,
    Machine,
    QuickConfig,
    QuickModel,
    cpu_space,
    hub_weights,
    quick_config,
    quick_spec,
    tensor_parallel,
)

ARCHITECTURE = read_architecture(LLAMA_8B)
FACTS = WeightsFacts(ARCHITECTURE, 16 * GIB)
BIG = Machine(memory=64 * GIB)


def base(gpus: int) -> dict[str, Any]:
    """What ts.llm_launcher 0.12.0 makes where torch sees that many GPUs."""
    engine = {
        "max_num_seqs": 256,
        "max_model_len": None,
        "download_dir": None,
        "tensor_parallel_size": gpus,
    }
    return {
        "minWorkers": 1,
        "maxWorkers": 1,
        "batchSize": 1,
        "startupTimeout": 1200,
        "deviceType": "gpu",
        "asyncCommunication": True,
        "parallelLevel": gpus,
        "handler": {"model_path": "m", "vllm_engine_config": engine},
    }


def made(
    gpus: int, machine: Machine = BIG, facts: WeightsFacts | None = FACTS, **engine: object
) -> tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]:
    """The document, its engine's section, and the remarks."""
    model = QuickModel("name", "org/m", "/weights/m", engine)
    config = quick_config(base(gpus), model, machine, facts)
    document = yaml.safe_load(config.text)
    return document, document["handler"]["vllm_engine_config"], config.remarks


def test_a_cpu_gets_settings_that_work_on_it() -> None:
    document, engine, remarks = made(0)
    assert (document["deviceType"], document["parallelLevel"]) == ("cpu", 1)
    assert engine == {
        "max_num_seqs": 256,
        "max_model_len": -1,
        "tensor_parallel_size": 1,
        "enforce_eager": True,
    }
    assert document["handler"]["environment"] == {"VLLM_CPU_KVCACHE_SPACE": str(MOST_CPU_SPACE)}
    assert remarks == ()


def test_a_cpu_computes_in_float32_where_half_of_the_memory_is_enough() -> None:
    _, engine, _ = made(0, Machine(128 * GIB))
    assert engine["dtype"] == "float32"
    _, engine, _ = made(0, Machine(128 * GIB), dtype="bfloat16")
    assert engine["dtype"] == "bfloat16"


def test_all_gpus_are_used_and_torchserve_reserves_as_many() -> None:
    document, engine, remarks = made(4)
    assert (document["deviceType"], document["parallelType"]) == ("gpu", "custom")
    assert (document["parallelLevel"], engine["tensor_parallel_size"]) == (4, 4)
    assert "enforce_eager" not in engine
    assert "environment" not in document["handler"]
    assert remarks == ()


def test_gpus_that_do_not_divide_the_heads_stay_idle_and_it_is_said() -> None:
    _, engine, remarks = made(3)
    assert engine["tensor_parallel_size"] == 2
    assert remarks == ("2 of 3 GPUs are used: 3 don't divide 32 heads",)


def test_sizes_given_by_hand_are_taken_and_decide_the_level() -> None:
    document, engine, _ = made(8, tensor_parallel_size=2, pipeline_parallel_size=2)
    assert (engine["tensor_parallel_size"], document["parallelLevel"]) == (2, 4)
    document, engine, _ = made(8, data_parallel_size=3)
    assert (engine["tensor_parallel_size"], document["parallelLevel"]) == (1, 3)


def test_what_the_user_said_is_never_overruled() -> None:
    document, engine, _ = made(0, enforce_eager=False, max_model_len=128, kv_cache_memory_bytes=1)
    assert (engine["enforce_eager"], engine["max_model_len"]) == (False, 128)
    assert "environment" not in document["handler"]
    document, _, _ = made(0, Machine(64 * GIB, cpu_space="7"))
    assert document["handler"]["environment"] == {"VLLM_CPU_KVCACHE_SPACE": "7"}


def test_the_model_answers_to_its_name_and_to_what_the_user_called_it() -> None:
    document, engine, _ = made(0, download_dir="/cache")
    assert document["handler"]["served_model_name"] == ["name", "org/m"]
    assert "download_dir" not in engine  # the weights are fetched before
    document, engine, _ = made(0, served_model_name="mine")
    assert document["handler"]["served_model_name"] == "mine"
    assert "served_model_name" not in engine


def test_a_model_too_big_for_the_memory_is_remarked_on() -> None:
    _, _, remarks = made(0, Machine(8 * GIB))
    assert len(remarks) == 1
    assert "20.0 GiB of memory are needed and 8.0 GiB are free" in remarks[0]


def test_weights_that_are_not_here_yet_are_no_hindrance() -> None:
    _, engine, remarks = made(4, facts=None)
    assert (engine["tensor_parallel_size"], remarks) == (4, ())


@given(st.integers(0, 2**45), st.integers(0, 2**45), st.none() | st.integers(0, 2**45))
def test_the_cpu_cache_is_a_whole_number_of_gib_that_is_there(
    memory: int, weights: int, useful: int | None
) -> None:
    space = cpu_space(memory, weights, useful)
    assert 1 <= space <= MOST_CPU_SPACE
    if space > 1:
        assert 2 * space * GIB <= memory - weights - CPU_OVERHEAD
        assert useful is None or (space - 1) * GIB < useful


@given(st.integers(1, 64), st.integers(1, 256))
def test_tensor_parallel_always_divides_the_heads(gpus: int, heads: int) -> None:
    used = tensor_parallel(gpus, heads)
    assert 1 <= used <= gpus
    assert heads % used == 0


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("org/name", HubWeights("org/name", "main")),
        ("org/name@v1.0", HubWeights("org/name", "v1.0")),
        ("hf:org/name@abc", HubWeights("org/name", "abc")),
        ("name", None),
        ("a/b/c", None),
        ("/org/name", None),
        ("org/name@", None),
    ],
)
def test_a_name_of_the_hub_is_an_organisation_and_a_name(
    said: str, expected: HubWeights | None
) -> None:
    assert hub_weights(said) == expected


def test_the_spec_made_of_a_config_is_a_valid_one() -> None:
    files = quick_spec("name", QuickConfig("minWorkers: 1\n"))
    spec = draft_spec(files["archive.yaml"].decode(), {}).spec
    assert (spec.model, spec.stock, spec.weights) == ("name", True, None)
    assert files[spec.model_config] == b"minWorkers: 1\n"
    assert len(parse_golden(files[spec.golden].decode(), spec.golden)) == 1
