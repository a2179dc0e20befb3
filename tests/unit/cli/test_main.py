"""The boundary of the command: errors as two lines and an exit code."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        (["biuld"], "No such command 'biuld'. Did you mean 'build'?", "tslc --help"),
        (["build"], "Missing argument 'SPEC'.", "tslc build --help"),
        (["lint", "--no-such"], "No such option '--no-such'.", "tslc lint --help"),
    ],
)
def test_a_command_typed_wrong_is_an_error_with_a_hint(
    words: list[str], error: str, hint: str
) -> None:
    command = [sys.executable, "-m", "tslc", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [f"error: {error}", f"hint: {hint}"]


_SLOW = ("boto3", "cryptography", "httpx", "model_signing", "psutil", "pydantic", "torch", "vllm")
_IMPORTED = """
import importlib, json, sys
from tslc.cli.main import VERBS
for verb, (module, _) in VERBS.items():
    importlib.import_module(f"tslc.cli.{module}")
print(json.dumps(sorted(sys.modules)))
"""


def test_what_takes_long_to_load_is_not_loaded_for_a_verbs_help() -> None:
    command = [sys.executable, "-c", _IMPORTED]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert not loaded & set(_SLOW)
    assert not {name for name in loaded if name.startswith("tslc.verbs.")}
