"""What `tslc run` decides, and refuses, before it starts anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nodes import Cli, TinyArchives

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def tiny(archives: TinyArchives) -> Path:
    return archives.build("planned")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / "weights"
    folder.mkdir()
    about = {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 32,
        "max_position_embeddings": 128,
    }
    (folder / "config.json").write_text(json.dumps(about))
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    return folder


def planned(cli: Cli, *words: object) -> Any:
    return cli.ok("run", *words, "--dry-run", "--json", "--port", 0).json


def test_the_launchers_flags_are_taken_in_both_spellings(cli: Cli, weights: Path) -> None:
    underscores = [
        *("--model_id", weights, "--model_name", "mine", "--startup_timeout", 999),
        *("--vllm_engine.max_num_seqs", 4, "--vllm_engine.max_model_len", 64),
    ]
    hyphens = [
        *("--model-id", weights, "--model-name", "mine", "--startup-timeout", 999),
        *("--vllm-engine.max-num-seqs", 4, "--vllm-engine.max-model-len", 64),
    ]
    one, other = (planned(cli, *words) for words in (underscores, hyphens))
    assert one["model_config"] == other["model_config"]
    config = one["model_config"]
    assert (one["model"], config["startupTimeout"]) == ("mine", 999)
    assert config["handler"]["model_path"] == str(weights)
    engine = config["handler"]["vllm_engine_config"]
    assert (engine["max_num_seqs"], engine["max_model_len"]) == (4, 64)
    assert one["warnings"] == []
    everywhere = planned(cli, weights, "--host", "0.0.0.0")
    assert "no key is asked for" in everywhere["warnings"][-1]
    bridge = planned(cli, weights, "--server", "torchserve")
    assert bridge["url"].endswith("/predictions/model/1.0/v1")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--vllm_engine.max_model_length", 1], "write --vllm_engine.max_model_len"),
        (["--engine", "trt_llm"], "TensorRT-LLM is not run"),
        (["--trt_llm_engine.max_batch_size", 4], "TensorRT-LLM is not run"),
        (["--engine", "onnx"], "there is only vllm"),
        (["--dtype", "float99"], "'float99' is not one of"),
        (["--set", "handler.sistem_prompt=x"], "write system_prompt"),
        (["--model_name", "a/b"], "may hold only letters"),
        (["--server", "torchserve", "--host", "0.0.0.0"], "only run on 127.0.0.1"),
        (["--model_id", "another"], "different models"),
    ],
)
def test_wrong_flags_are_refused_with_what_to_write(
    cli: Cli, weights: Path, words: list[object], said: str
) -> None:
    ran = cli("run", weights, "--port", 0, *words)
    assert ran.code == 2
    assert said in " ".join(ran.err.split())


def test_what_is_no_model_is_refused_with_a_reason(
    cli: Cli, weights: Path, tiny: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (weights / "model.safetensors").write_bytes(b"version https://git-lfs")
    for model, said in {
        "/no/such/folder": "is no folder or archive here",
        "no-such.mar": "no archive no-such.mar",
        tmp_path / "empty": "holds no model: none of config.json",
        weights: "Git LFS pointer",
    }.items():
        ran = cli("run", model, "--port", 0)
        assert (ran.code, said in ran.err) == (2, True), ran.err
    ran = cli("run", tiny, "--port", 0, "--dtype", "half", "--set", "a=b")
    assert (ran.code, "--dtype, --set: an archive is served as it was built" in ran.err) == (
        2,
        True,
    )


def test_a_model_of_the_hub_that_cannot_be_had_says_so(cli: Cli, tmp_path: Path) -> None:
    env = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    ran = cli("run", "org/name@v1", "--port", 0, env=env)
    assert ran.code == 5
    assert "there is no folder org/name@v1, and hf:org/name@v1 is not in the cache" in ran.err
