"""A workshop: a small spec with everything it names, built through the command itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

MODEL_CONFIG = """\
minWorkers: 1
maxWorkers: 1
deviceType: cpu
asyncCommunication: true
startupTimeout: 600
handler:
  vllm_engine_config:
    dtype: bfloat16
    enforce_eager: true
    max_model_len: 128
  environment:
    VLLM_CPU_KVCACHE_SPACE: "1"
"""
SPEC = """\
model: tiny
handler: vllm
model_config: config.yaml
weights: weights
golden: golden.jsonl
extra_files: [notes.txt, kb]
requirements: needs.txt
"""
GOLDEN = {
    "name": "hello",
    "request": {"messages": [{"role": "user", "content": "Hello?"}]},
    "expect": {"contains": ["hello"]},
}
CONFIG_JSON = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 32,
    "max_position_embeddings": 128,
    "torch_dtype": "bfloat16",
}


def safetensors(size: int) -> bytes:
    """A whole safetensors file of no tensors and `size` bytes behind its header."""
    return (2).to_bytes(8, "little") + b"{}" + bytes(size)


class Workshop:
    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.cache = cache
        self.dist = folder / "dist"
        self.weights = folder / "spec" / "weights"
        self.write("archive.yaml", SPEC)
        self.write("config.yaml", MODEL_CONFIG)
        self.write("golden.jsonl", json.dumps(GOLDEN) + "\n")
        self.write("notes.txt", "a note\n")
        self.write("kb/deep/fact.txt", "a fact\n")
        self.write("kb/index.bin", bytes(range(256)) * 300)
        self.write("needs.txt", "# nothing\n")
        self.write("weights/config.json", json.dumps(CONFIG_JSON))
        self.write("weights/model.safetensors", safetensors(2 * 1024 * 1024))

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / "spec" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def age(self, seconds: float) -> None:
        """Set every file's time of change to this, in seconds since 1970."""
        for path in (self.folder / "spec").rglob("*"):
            os.utime(path, (seconds, seconds))

    def build(self, *arguments: str, spec: str = "spec") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tslc", "build", spec, "--version", "1.0.0"]
        environment = {**os.environ, "XDG_CACHE_HOME": str(self.cache)}
        return subprocess.run(
            [*command, *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def built(self, *arguments: str) -> Path:
        """The path of an archive built without a complaint."""
        done = self.build("--json", *arguments)
        assert done.returncode == 0, done.stderr
        return self.folder / str(json.loads(done.stdout)["archive"])


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path / "shop", tmp_path / "cache")


@pytest.fixture
def new_workshop(tmp_path: Path) -> Callable[[str], Workshop]:
    return lambda name: Workshop(tmp_path / name, tmp_path / "cache")
