"""`tslc lint` as it is typed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tslc.cli.lint import command
from tslc.domain.lint_rules import RULES
from tslc.errors import BadInput

ROOT = Path(__file__).parents[3]
SMALL = ROOT / "model_configs" / "smollm2-135m-cpu.yaml"
HANDLER = "from tslc_handlers import VLLMHandler\nclass A(VLLMHandler):\n    pass\n"
GOLDEN = '{"name": "a", "request": {"prompt": "x"}, "expect": {"contains": ["y"]}}\n'
BIG = ROOT / "model_configs" / "llama-3.1-70b-4gpu.yaml"


def lint(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_a_clean_file_ends_with_zero_and_says_what_was_not_checked() -> None:
    result = lint(SMALL, "--strict")
    assert result.exit_code == 0
    assert result.stdout == f"{SMALL}: ok\n"
    assert "--weights" in result.stderr


def test_errors_are_bad_input_and_every_finding_is_shown_first(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(SMALL.read_text().replace("asyncCommunication: true", "batchSize: 2"))
    result = lint(path)
    assert isinstance(result.exception, BadInput)
    assert result.exception.exit_code == 2
    assert f"{path}:5 batchSize\n  error batch-size: " in result.stdout
    assert "error sync-communication: " in result.stdout
    assert f"{path}: 2 errors" in result.stdout


def test_warnings_are_bad_input_only_when_strict(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(SMALL.read_text().replace("jobQueueSize: 1000", "jobQueueSize: 50"))
    assert lint(path).exit_code == 0
    assert isinstance(lint(path, "--strict").exception, BadInput)


def test_json_carries_the_same_findings(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(SMALL.read_text().replace("jobQueueSize", "jobQueue"))
    body = json.loads(lint(path, "--json").stdout)
    assert body["ok"] is False
    found = {finding["rule"]: finding for finding in body["files"][0]["findings"]}
    assert found["unknown-key"]["key"] == "jobQueue"
    assert found["unknown-key"]["fails"] is True
    assert found["job-queue-size"]["fails"] is False


def test_the_hardware_and_the_weights_say_whether_it_fits(tmp_path: Path) -> None:
    config = {
        "hidden_size": 8192,
        "intermediate_size": 28672,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "torch_dtype": "bfloat16",
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert lint(BIG, "--weights", tmp_path, "--gpu", "a100-80gb", "--gpus", 4).exit_code == 0
    assert "weights-fit" in lint(BIG, "--weights", tmp_path, "--gpu", "l4", "--gpus", 4).stdout
    small = lint(BIG, "--weights", tmp_path, "--gpu-memory", "30GiB", "--gpus", 4)
    assert "weights-fit" in small.stdout


@pytest.mark.parametrize(
    "options",
    [
        ("--gpus", "2"),
        ("--gpu", "l4", "--gpu-memory", "24GiB"),
        ("--gpu-memory", "much"),
        ("--weights", "no-such-folder"),
    ],
)
def test_options_that_say_nothing_clear_are_bad_input(options: tuple[str, ...]) -> None:
    result = lint(SMALL, *options)
    assert isinstance(result.exception, BadInput)
    assert result.exception.hint


def test_a_file_that_is_not_there_is_bad_input() -> None:
    assert isinstance(lint("nowhere.yaml").exception, BadInput)


def test_a_file_that_is_not_there_is_a_finding_and_the_others_are_shown(tmp_path: Path) -> None:
    broken = tmp_path / "config.yaml"
    broken.write_text("minWorkers: x\n")
    missing = tmp_path / ("long" * 100)
    body = json.loads(lint(broken, missing, tmp_path, SMALL, "--json").stdout)
    assert [file["ok"] for file in body["files"]] == [False, False, False, True]
    rules = [{finding["rule"] for finding in file["findings"]} for file in body["files"]]
    assert "wrong-type" in rules[0]
    assert rules[1] == rules[2] == {"unreadable"}


def test_a_spec_of_another_name_is_known_by_its_keys(tmp_path: Path) -> None:
    path = tmp_path / "release.yaml"
    path.write_text("model: m\nhandler: vllm\nmodel_config: missing.yaml\n")
    body = json.loads(lint(path, "--json").stdout)
    assert {f["rule"] for f in body["files"][0]["findings"]} == {"archive-spec"}


def test_lint_of_a_spec_finds_what_build_finds(tmp_path: Path) -> None:
    folder = spec(
        tmp_path,
        "model: m\nhandler: handler.py\nmodel_config: config.yaml\ngolden: golden.jsonl\n"
        "extra_files: [missing.txt]\nweights: ${NO_SUCH_VARIABLE}\n",
    )
    (folder / "handler.py").write_text("x = 1\n")
    (file, config) = json.loads(lint(folder, "--json").stdout)["files"]
    assert {(finding["line"], finding["key"]) for finding in file["findings"]} == {
        *((2, "handler"), (4, "golden"), (5, "extra_files"), (6, "weights"))
    }
    assert config["ok"]


def spec(folder: Path, text: str) -> Path:
    (folder / "config.yaml").write_text(SMALL.read_text())
    (folder / "archive.yaml").write_text(text)
    return folder


def test_a_spec_is_linted_with_the_config_it_names(tmp_path: Path) -> None:
    folder = spec(
        tmp_path,
        "model: m\nhandler: handler.py\nmodel_config: config.yaml\ngolden: golden.jsonl\n",
    )
    (folder / "handler.py").write_text(HANDLER)
    (folder / "golden.jsonl").write_text(GOLDEN)
    result = lint(folder)
    assert result.exit_code == 0
    lines = [f"{folder / 'archive.yaml'}: ok", f"{folder / 'config.yaml'}: ok"]
    assert result.stdout.splitlines() == lines
    (folder / "config.yaml").write_text("minWorkers: x\n")
    assert "wrong-type" in lint(folder / "archive.yaml").stdout


def test_every_mistake_of_a_spec_is_a_finding(tmp_path: Path) -> None:
    folder = spec(
        tmp_path, "modle: m\nhandler: vllm\nmodel_config: missing.yaml\nweights: ./nowhere\n"
    )
    body = json.loads(lint(folder, "--json").stdout)
    (file,) = body["files"]
    assert {finding["rule"] for finding in file["findings"]} == {"archive-spec"}
    assert [f["key"] for f in file["findings"]].count("weights") == 1
    assert {"modle", "model", "golden", "model_config", "weights"} == {
        finding["key"] for finding in file["findings"]
    }


def test_the_documented_rules_are_the_rules_of_the_code() -> None:
    text = (ROOT / "docs" / "lint.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+)` \| (\w+) \| (.*) \| (.*) \| (.*) \|$", text, re.MULTILINE)
    documented = [tuple(row) for row in rows]
    assert documented == [
        (rule.id, str(rule.severity), rule.what, rule.why, rule.fix) for rule in RULES.values()
    ]
