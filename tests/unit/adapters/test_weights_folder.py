"""What a weights folder says of itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tslc.adapters.weights_folder import read_weights_facts
from tslc.errors import BadInput

CONFIG = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}


def write(folder: Path, name: str, content: object) -> None:
    (folder / name).write_text(json.dumps(content))


def test_the_bytes_are_those_of_the_safetensors_files(tmp_path: Path) -> None:
    write(tmp_path, "config.json", CONFIG)
    (tmp_path / "model-1.safetensors").write_bytes(b"12345")
    (tmp_path / "model-2.safetensors").write_bytes(b"123")
    facts = read_weights_facts(tmp_path)
    assert facts.file_bytes == 8
    assert facts.architecture is not None
    assert facts.architecture.head_dim == 4


def test_without_files_the_index_counts(tmp_path: Path) -> None:
    write(tmp_path, "config.json", CONFIG)
    assert read_weights_facts(tmp_path).file_bytes is None
    write(tmp_path, "model.safetensors.index.json", {"metadata": {"total_size": 42}})
    assert read_weights_facts(tmp_path).file_bytes == 42


def test_a_folder_without_a_readable_config_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"config\.json"):
        read_weights_facts(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(BadInput, match="not JSON"):
        read_weights_facts(tmp_path)
    write(tmp_path, "config.json", [])
    with pytest.raises(BadInput, match="not a JSON object"):
        read_weights_facts(tmp_path)
