"""`tslc config` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tslc.cli.config import command
from tslc.errors import BadFile, BadInput


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("TSLC_STORE_REGION", "TSLC_STORE_URL", "TSLC_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "tslc.yaml").write_text("store:\n  url: s3://models/eu\n  region: eu-central-1\n")
    (tmp_path / "archives" / "bot").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "archives" / "bot")
    return tmp_path


def config(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_the_file_is_found_upwards_and_each_value_says_where_it_comes_from(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TSLC_STORE_REGION", "us-east-1")
    shown = json.loads(config("--cache-size", "1KiB", "--json").stdout)
    assert shown["file"] == str(project / "tslc.yaml")
    settings = shown["settings"]
    where = f"{project / 'tslc.yaml'}:2"
    assert settings["store.url"] == {"value": "s3://models/eu", "origin": where}
    assert settings["store.region"] == {"value": "us-east-1", "origin": "TSLC_STORE_REGION"}
    assert settings["cache.max_size"] == {"value": 1024, "origin": "--cache-size"}
    assert settings["default_environment"]["origin"] == "default"


def test_the_table_has_a_line_for_each_setting(project: Path) -> None:
    lines = config().stdout.splitlines()
    assert lines[0].split() == ["KEY", "VALUE", "FROM"]
    assert any(line.split()[:2] == ["store.url", "s3://models/eu"] for line in lines)


def test_a_file_named_by_hand_is_taken_instead(project: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("store: {url: s3://others}\n")
    shown = json.loads(config("--config", other, "--json").stdout)
    assert shown["settings"]["store.url"]["value"] == "s3://others"
    assert isinstance(config("--config", tmp_path / "none.yaml").exception, BadInput)


def test_a_broken_file_ends_the_command_with_all_its_mistakes(project: Path) -> None:
    (project / "tslc.yaml").write_text("store: {urll: x}\ncache: {size: 1}\n")
    error = config().exception
    assert isinstance(error, BadFile)
    assert len(error.mistakes) == 2
    assert error.exit_code == 2


def test_a_settings_file_that_can_not_be_read_is_no_missing_one(project: Path) -> None:
    (project / "tslc.yaml").unlink()
    (project / "tslc.yaml").symlink_to(project / "nowhere")
    assert isinstance(config().exception, BadInput)
