"""Engine arguments where vLLM is installed, and where it is not."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from tslc.adapters.vllm_source import packaged_engine_fields, parse_installed, read_engine_fields


def test_reading_the_arguments_does_not_import_vllm() -> None:
    before = "vllm" in sys.modules
    read_engine_fields()
    assert ("vllm" in sys.modules) == before


def test_without_vllm_the_packaged_list_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)  # Python's own way to say: not installed
    fields = read_engine_fields()
    assert not fields.installed
    assert fields == packaged_engine_fields()


def test_a_vllm_of_another_shape_gives_the_packaged_list(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine = tmp_path / "vllm" / "engine"
    engine.mkdir(parents=True)
    (tmp_path / "vllm" / "__init__.py").write_text("")
    (engine / "arg_utils.py").write_text("class Something: ...\n")
    monkeypatch.delitem(sys.modules, "vllm", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert not read_engine_fields().installed


def test_another_version_than_the_packaged_list_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    if (installed := parse_installed()) is None:
        pytest.skip("no vLLM is installed")
    older = dataclasses.replace(packaged_engine_fields(), vllm_version="0.1", fields={})
    monkeypatch.setattr("tslc.adapters.vllm_source.packaged_engine_fields", lambda: older)
    assert read_engine_fields() == installed
