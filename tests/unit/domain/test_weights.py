"""What a weights folder says of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tslc.domain.weights import WeightsFolder, weights_facts, weights_mistakes

CONFIG = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}
HEAD = (2).to_bytes(8, "little")


def folder(sizes: Mapping[str, int], index: object = None) -> WeightsFolder:
    return WeightsFolder(
        sizes=sizes,
        heads={path: HEAD for path in sizes if path.endswith(".safetensors")},
        config=json.dumps(CONFIG).encode(),
        index=json.dumps(index).encode() if index else None,
    )


def test_the_bytes_are_those_of_the_safetensors_files_beside_the_config() -> None:
    sizes = {"a.safetensors": 50, "b.safetensors": 30, "other/a.safetensors": 99, "x.json": 7}
    facts = weights_facts(folder(sizes), "m")
    assert facts.file_bytes == 80
    assert facts.architecture is not None
    assert facts.architecture.head_dim == 4


def test_weights_that_are_there_twice_count_once() -> None:
    index = {"weight_map": {"x": "model-1.safetensors", "y": "model-2.safetensors"}}
    sizes = {"model-1.safetensors": 50, "model-2.safetensors": 30, "consolidated.safetensors": 80}
    assert weights_facts(folder(sizes, index), "m").file_bytes == 80
    one = {"model.safetensors": 80, "consolidated.safetensors": 80}
    assert weights_facts(folder(one), "m").file_bytes == 80
    assert weights_facts(folder({"consolidated.safetensors": 80}), "m").file_bytes == 80


def test_without_files_the_index_counts() -> None:
    assert weights_facts(folder({}), "m").file_bytes is None
    assert weights_facts(folder({}, {"metadata": {"total_size": 42}}), "m").file_bytes == 42


def test_a_file_that_no_manifest_can_name_is_a_mistake_with_its_own_fix() -> None:
    (found,) = weights_mistakes(folder({"model.safetensors": 50, "a\\b.txt": 1}), "w")
    assert "'a\\\\b.txt'" in found.problem
    assert "rename it" in found.fix
