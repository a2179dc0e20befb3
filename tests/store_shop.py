"""A store to test on: a bucket of a real S3 server, `tslc` with that store, archives to push."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nodes import Cli, Node, Ran, TinyArchives
from s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tslc.adapters.s3_store import Credentials, S3Store, StoreAddress

CONFIG_JSON = b"""{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8,
"intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 32,
"num_key_value_heads": 2, "max_position_embeddings": 128, "torch_dtype": "bfloat16"}"""


def weights(megabytes: int, seed: int = 0) -> dict[str, bytes]:
    """A weights folder: one file in several parts, one in a single request."""
    noise = random.Random(seed)
    head = (2).to_bytes(8, "little") + b"{}"
    return {
        "config.json": CONFIG_JSON,
        "model-00001-of-00002.safetensors": head + noise.randbytes((megabytes - 1) << 20),
        "model-00002-of-00002.safetensors": head + noise.randbytes(1 << 20),
    }


@dataclass(frozen=True)
class Shop:
    server: S3Server
    bucket: str
    archives: TinyArchives
    root: Path
    prefix: str = "some/prefix"
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def cli(self) -> Cli:
        return Cli(self.root / "home", self.root)

    @property
    def env(self) -> dict[str, str]:
        return {
            **self.server.environment,
            "TSLC_STORE_URL": f"s3://{self.bucket}/{self.prefix}",
            "TSLC_CACHE_PATH": str(self.cache),
            **self.environment,
        }

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    def __call__(self, *words: object) -> Ran:
        return self.cli(*words, env=self.env)

    def on(self, node: Node) -> Shop:
        """The same store, for commands that work on a running node."""
        return replace(self, environment={**self.environment, "TSLC_HOME": str(node.cli.home)})

    def ok(self, *words: object) -> Any:
        """Run it with --json; it has to succeed."""
        return self.cli.ok(*words, "--json", env=self.env).json

    def start(self, *words: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tslc", *map(str, words)],
            cwd=self.root,
            env={**os.environ, "TSLC_HOME": str(self.root / "home"), **self.env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def store(self) -> S3Store:
        return S3Store(
            StoreAddress(
                self.bucket,
                self.prefix,
                self.server.endpoint_url,
                credentials=Credentials(ACCESS_KEY, SECRET_KEY),
            )
        )

    def objects(self) -> dict[str, int]:
        """Every key below the prefix, and its size."""
        return {one.key: one.size for one in self.store().list("")}

    def overwrite(self, key: str, content: bytes) -> None:
        """What tslc never does."""
        self.server.client().put_object(
            Bucket=self.bucket, Key=f"{self.prefix}/{key}", Body=content
        )

    def read(self, key: str) -> bytes:
        found = self.store().get(key, 1 << 40)
        assert found is not None
        return found


def tree(folder: Path) -> dict[str, str]:
    """The digest of every file below a folder, by its path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def spoilt(cache: Path) -> list[Path]:
    """Contents of a cache that are not what they are called."""
    return [
        path
        for path in (cache / "sha256").glob("*")
        if hashlib.sha256(path.read_bytes()).hexdigest() != path.name
    ]
