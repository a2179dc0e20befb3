"""The boundary of the command: errors as two lines and an exit code."""

from __future__ import annotations

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
