"""The launcher's `--vllm_engine.*` flags: which words they are, and what they mean."""

import pytest

from tslc.domain.engine_fields import EngineField, EngineFields
from tslc.domain.launcher_flags import EngineFlag, engine_values, split_engine_flags
from tslc.errors import BadFile, BadInput

FIELDS = EngineFields(
    "0.32.0",
    {
        "max_model_len": EngineField("int", None),
        "enforce_eager": EngineField("bool", None),
        "gpu_memory_utilization": EngineField("float", None),
        "seed": EngineField("int | None", None),
        "tokenizer": EngineField("str | None", None),
        "model": EngineField("str", None),
        "speculative_config": EngineField("dict[str, Any] | None", None),
        "allowed_media_domains": EngineField("list[str] | None", None),
    },
)


def values(*words: str) -> dict[str, object]:
    return engine_values(split_engine_flags(words)[1], FIELDS)


def test_engine_flags_are_taken_out_and_the_rest_keeps_its_order() -> None:
    words = ["a", "--vllm_engine.seed", "7", "--port", "1", "--vllm-engine.max-model-len=16k", "b"]
    rest, flags = split_engine_flags(words)
    assert rest == ["a", "--port", "1", "b"]
    assert flags == (
        EngineFlag("--vllm_engine.seed", "seed", "7"),
        EngineFlag("--vllm-engine.max-model-len", "max_model_len", "16k"),
    )


def test_words_behind_two_hyphens_are_left_alone() -> None:
    words = ["--", "--vllm_engine.seed", "7"]
    assert split_engine_flags(words) == (words, ())


def test_the_next_option_is_no_value() -> None:
    rest, flags = split_engine_flags(["--vllm_engine.enforce_eager", "--json"])
    assert rest == ["--json"]
    assert flags[0].text is None


@pytest.mark.parametrize("word", ["--trt_llm_engine.max_batch_size", "--trt-llm-engine.x=1"])
def test_flags_of_tensorrt_say_why_they_are_not_taken(word: str) -> None:
    with pytest.raises(BadInput, match="TensorRT-LLM is not run"):
        split_engine_flags([word, "4"])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--vllm_engine.max_model_len", "-1"], {"max_model_len": -1}),
        (["--vllm_engine.max_model_len", "16k"], {"max_model_len": "16k"}),
        (["--vllm_engine.enforce_eager"], {"enforce_eager": True}),
        (["--vllm_engine.enforce_eager", "False"], {"enforce_eager": False}),
        (["--vllm_engine.gpu_memory_utilization", "9e-1"], {"gpu_memory_utilization": 0.9}),
        (["--vllm_engine.seed", "null"], {"seed": None}),
        (["--vllm_engine.tokenizer", "12"], {"tokenizer": "12"}),
        (["--vllm_engine.tokenizer", "2024-01-01"], {"tokenizer": "2024-01-01"}),
        (
            ["--vllm_engine.speculative_config", '{"method": "ngram"}'],
            {"speculative_config": {"method": "ngram"}},
        ),
        (["--vllm_engine.allowed_media_domains", "[a, b]"], {"allowed_media_domains": ["a", "b"]}),
        (["--vllm_engine.seed", "1", "--vllm_engine.seed", "2"], {"seed": 2}),
    ],
)
def test_a_text_means_what_its_argument_can_take(
    words: list[str], expected: dict[str, object]
) -> None:
    assert values(*words) == expected


def test_all_wrong_flags_are_shown_at_once_with_the_nearest_right_one() -> None:
    with pytest.raises(BadFile) as raised:
        values("--vllm_engine.max_model_length", "1", "--vllm_engine.seed", "--vllm_engine.model=x")
    shown = str(raised.value)
    assert len(raised.value.mistakes) == 3
    assert "write --vllm_engine.max_model_len" in shown
    assert "--vllm_engine.seed: its value is missing" in shown
    assert "write it as MODEL" in shown
