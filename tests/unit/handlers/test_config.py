import json

import pytest

from tslc_handlers.config import ConfigError, HandlerConfig, find_model, worker_environment
from tslc_handlers.endpoints import DEFAULT


def test_an_empty_section_means_the_defaults():
    assert HandlerConfig.parse({}) == HandlerConfig()
    assert HandlerConfig().endpoints == DEFAULT


def test_every_mistake_is_told_at_once_with_the_nearest_key():
    with pytest.raises(ConfigError) as caught:
        HandlerConfig.parse(
            {
                "sytem_prompt": "x",
                "endpoints": ["/v1/chat/completion"],
                "max_body_bytes": "many",
                "environment": {"VLLM_CPU_KVCACHE_SPACE": 1},
            }
        )
    text = str(caught.value)
    assert len(caught.value.mistakes) == 4
    assert "did you mean 'system_prompt'" in text
    assert "did you mean '/v1/chat/completions'" in text
    assert "must be int" in text
    assert 'write VLLM_CPU_KVCACHE_SPACE: "1"' in text


def test_one_served_name_may_be_given_bare():
    assert HandlerConfig.parse({"served_model_name": "a"}).served_model_name == ("a",)


def archive(tmp_path, size):
    folder = tmp_path / "archive"
    folder.mkdir()
    weights = {"digest": "sha256:abc", "files": {"model.safetensors": {"size": size}}}
    (folder / "tslc-manifest.json").write_text(json.dumps({"weights": weights}))
    (tmp_path / "weights" / "abc").mkdir(parents=True)
    (tmp_path / "weights" / "abc" / "model.safetensors").write_bytes(b"12345")
    return folder


def test_weights_are_found_by_the_manifests_digest(tmp_path):
    environ = {"TSLC_WEIGHTS_DIR": str(tmp_path / "weights")}
    found = find_model(archive(tmp_path, 5), HandlerConfig(), environ)
    assert found == str(tmp_path / "weights" / "abc")


def test_weights_of_another_size_are_refused(tmp_path):
    environ = {"TSLC_WEIGHTS_DIR": str(tmp_path / "weights")}
    with pytest.raises(ConfigError, match="has 5 bytes; the manifest says 6 bytes"):
        find_model(archive(tmp_path, 6), HandlerConfig(), environ)


def test_without_a_weights_folder_the_variable_is_named(tmp_path):
    with pytest.raises(ConfigError, match="TSLC_WEIGHTS_DIR is not set"):
        find_model(archive(tmp_path, 5), HandlerConfig(), {})


def test_a_stock_archive_names_its_model_itself(tmp_path):
    (tmp_path / "model").mkdir()
    config = HandlerConfig(model_path="model")
    assert find_model(tmp_path, config, {}) == str(tmp_path / "model")
    assert find_model(tmp_path, HandlerConfig(model_path="org/name"), {}) == "org/name"
    with pytest.raises(ConfigError, match="no weights"):
        find_model(tmp_path, HandlerConfig(), {})


def test_a_local_model_needs_no_hub_and_the_versions_environment_wins(tmp_path):
    config = HandlerConfig(environment={"VLLM_LOGGING_LEVEL": "DEBUG"})
    environment = worker_environment(config, str(tmp_path))
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["VLLM_LOGGING_LEVEL"] == "DEBUG"
    assert "HF_HUB_OFFLINE" not in worker_environment(config, "org/name")
