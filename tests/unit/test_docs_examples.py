"""Files that the documentation shows are read by what reads them: none has an unknown word.

Whole files are without a mistake; of a part only what is missing may be missing.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from lint_inputs import lint
from pages import PAGES, Block, blocks, name_of
from tslc.domain.archive_spec import KEYS, draft_spec
from tslc.domain.golden.parse import parse_golden
from tslc.domain.lint_rules import Severity
from tslc.domain.node_files import CREDENTIALS
from tslc.domain.releasing.plan_file import parse_plan
from tslc.domain.settings import resolve
from tslc.domain.settings_file import SECTIONS
from tslc.errors import TslcError

VARIABLES = {"TSLC_DEMO_MODEL": "/models/small", "TSLC_DEMO_GUARD": "/models/guard"}
OF_ALL_CONFIGS = ("yaml", "duplicate-key", "unknown-key", "wrong-type", "bad-value")
# Of Prometheus, compose, GitHub Actions: those have readers of their own.
OF_OTHERS = {"scrape_configs", "services", "jobs"}


def wrong(block: Block) -> list[str]:
    """What the readers say of an example; a YAML file that nobody reads is wrong too."""
    try:
        document = yaml.safe_load(block.text)
    except yaml.YAMLError as error:
        return [str(error)]
    keys = set(document) if isinstance(document, dict) else set()
    if keys & set(SECTIONS[""]):
        return settings_mistakes(block.text)
    if "steps" in keys:
        return plan_mistakes(block.text)
    if "minWorkers" in keys or isinstance(document.get("handler"), dict):
        return config_mistakes(block.text, whole="minWorkers" in keys)
    if keys <= set(KEYS):
        return spec_mistakes(block.text, whole="golden" in keys)
    return [] if keys & OF_OTHERS else [f"nobody reads {', '.join(map(str, keys))}"]


def settings_mistakes(text: str) -> list[str]:
    try:
        resolve(text, Path("/project/tslc.yaml"), {"HOME": "/home/me"}, {})
    except TslcError as error:
        return [error.message]
    return []


def plan_mistakes(text: str) -> list[str]:
    try:
        parse_plan(text, "release.yaml")
    except TslcError as error:
        return [error.message]
    return []


def config_mistakes(text: str, *, whole: bool) -> list[str]:
    found = [one for one in lint(text) if whole or one.rule in OF_ALL_CONFIGS]
    return [f"{one.key}: {one.problem}" for one in found if one.severity is Severity.ERROR]


def spec_mistakes(text: str, *, whole: bool) -> list[str]:
    mistakes = draft_spec(text, VARIABLES).mistakes
    return [str(one) for one in mistakes if whole or one.problem != "missing"]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_yaml_file_shown_can_be_used(page: Path) -> None:
    shown = [one for one in blocks(page.read_text()) if one.language == "yaml"]
    problems = {f"{name_of(page)}:{one.line}": wrong(one) for one in shown}
    assert {where: said for where, said in problems.items() if said} == {}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_json_file_shown_can_be_used(page: Path) -> None:
    for block in blocks(page.read_text()):
        if block.language == "json":
            lines = [json.loads(line) for line in block.text.splitlines()]
            if any("request" in line for line in lines):
                assert parse_golden(block.text, "golden.jsonl")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("store: {url: local, urll: x}", "urll"),
        ("environments: {production: {}}", "trusts no key"),
        ("model: m\nhandler: vllm\ngolden: g.jsonl\n", "model_config"),
        ("handler: gaurd\nguard: {model: hf:a/b@c}\n", "gaurd"),
        ("minWorkers: 1\nhandler: {}\n", "asyncCommunication"),
        ("handler: {guard: {treshold: 0.5}}", "treshold"),
        ("handler: {vllm_engine_config: {max_model_length: 1}}", "max_model_length"),
        ("steps: [{split: 10%, backe: 10m}]", "backe"),
        ("sevrices: {}", "nobody reads"),
    ],
)
def test_a_wrong_example_would_be_found(text: str, said: str) -> None:
    assert said in " ".join(wrong(Block(1, "yaml", text)))


def test_no_variable_that_is_shown_to_workers_is_kept_from_them() -> None:
    """TorchServe withholds what looks like a credential."""
    shown = {
        name
        for page in PAGES
        for name in re.findall(r"(?:api_key_env|dsn_env): (\w+)", page.read_text())
    }
    assert len(shown) == 2
    assert {name for name in shown if re.fullmatch(CREDENTIALS, name)} == set()
