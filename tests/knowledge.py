"""Archives with a knowledge base for tests: a small spec, its weights a stand-in nobody loads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nodes import Cli, Ran

SUPPORT_BOT = Path(__file__).parents[1] / "archives" / "support-bot"
QUESTIONS = SUPPORT_BOT / "qa.jsonl"
_WEIGHTS = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8} | {
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 32,
    "max_position_embeddings": 2048,
    "torch_dtype": "float32",
}
_GOLDEN = {
    "name": "hello",
    "request": {"messages": [{"role": "user", "content": "Hello?"}]},
    "expect": {"status": 200},
}


def config(rag: Mapping[str, Any]) -> dict[str, Any]:
    engine = {"dtype": "float32", "max_model_len": 2048}
    environment = {"VLLM_CPU_KVCACHE_SPACE": "1", "TORCH_COMPILE_DISABLE": "1"}
    handler = {"vllm_engine_config": engine, "environment": environment, "rag": dict(rag)}
    return {"minWorkers": 1, "maxWorkers": 1, "deviceType": "cpu", "startupTimeout": 600} | {
        "asyncCommunication": True,
        "handler": handler,
    }


@dataclass(frozen=True)
class Library:
    """A spec with a knowledge base, in `folder`; `cli` runs beside it."""

    cli: Cli
    folder: Path

    @classmethod
    def at(cls, folder: Path, knowledge: Path | None = None) -> Library:
        """`knowledge` is copied; with none the folder is empty."""
        library = cls(Cli(folder / "home", folder), folder)
        weights = folder / "weights"
        weights.mkdir(parents=True)
        (weights / "config.json").write_text(json.dumps(_WEIGHTS))
        (weights / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}" + bytes(64))
        (folder / "golden.jsonl").write_text(json.dumps(_GOLDEN) + "\n")
        if knowledge is None:
            (folder / "knowledge").mkdir()
        else:
            shutil.copytree(knowledge, folder / "knowledge")
        library.write_spec()
        library.write_config()
        return library

    def write_spec(self, **rag: Any) -> None:
        spec = {"model": "library", "handler": "rag", "model_config": "config.yaml"} | {
            "weights": "weights",
            "golden": "golden.jsonl",
            "rag": {"knowledge": ["knowledge"], **rag},
        }
        (self.folder / "archive.yaml").write_text(yaml.safe_dump(spec))

    def write_config(self, **rag: Any) -> None:
        (self.folder / "config.yaml").write_text(yaml.safe_dump(config(rag)))

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / "knowledge" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def build(
        self, version: str = "1.0.0", *words: str, env: Mapping[str, str] | None = None
    ) -> Ran:
        return self.cli("build", ".", "--version", version, "--json", *words, env=env)

    def built(
        self, version: str = "1.0.0", *words: str, env: Mapping[str, str] | None = None
    ) -> Path:
        """The path of an archive built without a complaint."""
        done = self.build(version, *words, env=env)
        assert done.code == 0, done.err
        return self.folder / str(done.json["archive"])
