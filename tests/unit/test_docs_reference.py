"""The reference says what the code says: commands, settings, variables, exit codes, JSON."""

from __future__ import annotations

import ast
import importlib.util
import re
from dataclasses import fields
from types import ModuleType

import pytest

from pages import ROOT, anchors
from tslc.domain.evaluation import Answer
from tslc.domain.evaluation.results import Figures
from tslc.domain.lint_rules import Finding
from tslc.domain.release.report import VersionReport
from tslc.domain.release.state import Change
from tslc.domain.releasing.document import Event, Release
from tslc.domain.settings import FLAGS, VARIABLES
from tslc.domain.settings_file import ENVIRONMENT_KEYS
from tslc.errors import TslcError
from tslc.verbs.pipeline.brief import Brief
from tslc.verbs.rag import Figures as RagFigures
from tslc.verbs.rag import Passage

REFERENCE = ROOT / "docs" / "reference"
SETTINGS = (REFERENCE / "settings.md").read_text()
CONTRACT = (REFERENCE / "exit-codes-and-json.md").read_text()
SOURCES = sorted((ROOT / "toolkit").rglob("*.py")) + sorted((ROOT / "handlers").rglob("*.py"))
CODE = re.compile(r"`([^`]+)`")


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "write_cli_reference", ROOT / "docs" / "write_cli_reference.py"
    )
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(text: str) -> list[tuple[str, ...]]:
    lines = (line for line in text.splitlines() if line.startswith("| "))
    return [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in lines]


def test_the_page_of_commands_is_what_help_says() -> None:
    """Stale? python docs/write_cli_reference.py"""
    made = generator().render()
    assert (REFERENCE / "cli.md").read_text() == made
    assert {"tslc-split", "tslc-keys-create", "flags-of-the-settings"} <= anchors(made)


def test_every_setting_has_its_row() -> None:
    found = {CODE.findall(row[0])[0]: row for row in rows(SETTINGS) if CODE.search(row[0])}
    for key, flag in FLAGS.items():
        assert flag in CODE.findall(found[key][1])
        assert CODE.findall(found[key][2]) == [VARIABLES[key]]
    assert set(ENVIRONMENT_KEYS) <= set(found)


def test_every_variable_of_ours_is_told() -> None:
    named = {
        name for file in SOURCES for name in re.findall(r'"(TSLC_[A-Z0-9_]+)"', file.read_text())
    }
    prefixes = {name for name in named if name.endswith("_")} | {"TSLC_ENVIRONMENT"}
    told = set(re.findall(r"`(TSLC_[A-Z0-9_]+)`", SETTINGS))
    assert len(named) > 8
    assert named - prefixes - told == set()


def kinds(kind: type[TslcError]) -> list[type[TslcError]]:
    return [kind, *(one for below in kind.__subclasses__() for one in kinds(below))]


def test_every_exit_code_is_told() -> None:
    told = {int(row[0]) for row in rows(CONTRACT) if row[0].isdigit()}
    assert told == {0, 130} | {one.exit_code for one in kinds(TslcError)}


def written(module: str, function: str) -> set[str]:
    """The keys of the dictionaries that a function of tslc.cli writes down."""
    tree = ast.parse((ROOT / "toolkit" / "tslc" / "cli" / f"{module}.py").read_text())
    found: set[str] = set()
    for one in ast.walk(tree):
        if isinstance(one, ast.FunctionDef) and one.name == function:
            for part in ast.walk(one):
                if isinstance(part, ast.Dict):
                    found |= {str(k.value) for k in part.keys if isinstance(k, ast.Constant)}
    assert found, f"{module}.{function} writes no dictionary"
    return found


def names(kind: type) -> set[str]:
    return {one.name for one in fields(kind)}


VERSION = written("store_options", "manifest_json")
DOCUMENTS = {
    "tslc build": written("build", "_result_json"),
    "tslc build --dry-run": written("build", "_plan_json"),
    "tslc lint": written("lint", "_as_json") | names(Finding),
    "tslc push": written("push", "_as_json"),
    "tslc pull": written("pull", "_as_json"),
    "tslc verify": written("verify", "command"),
    "tslc list": written("list_versions", "_as_json"),
    "tslc show": written("show", "command"),
    "tslc diff": written("diff", "_as_json"),
    "tslc gc": written("gc", "_as_json"),
    "tslc keygen": written("keygen", "command") - {"plan"},
    "tslc promote": written("change_options", "_as_json"),
    "tslc status --env": written("environment_status", "status_json") | names(Change),
    "a node in it": written("environment_status", "_node_json") - {"phase", "share"},
    "a version in that": names(VersionReport),
    "tslc status": written("status", "_as_json"),
    "tslc history": written("history", "_step_json"),
    "a model in `from`, `to`": written("history", "_models_json"),
    "tslc history --at": written("history", "_state_json"),
    "tslc history verify": written("history", "verify"),
    "tslc keys create": written("keys", "create"),
    "tslc keys list": written("keys", "list_"),
    "tslc keys revoke": written("keys", "revoke"),
    "tslc register": written("register", "_as_json"),
    "tslc unregister": written("unregister", "command"),
    "tslc default": written("default", "command"),
    "tslc up": written("up", "_as_json") | written("up", "_store"),
    "tslc down": written("down", "command"),
    "tslc run": written("run", "_ready_json"),
    "tslc run --dry-run": written("run", "_plan_json"),
    "tslc chat": written("chat", "_as_json"),
    "tslc config": written("config", "command"),
    "tslc eval": written("eval_report", "as_json"),
    "figures of a version in it": names(Figures),
    "an answer in it": names(Answer) | {"passed"},
    "tslc release": names(Release) - {"data", "schema", "runner"} | names(Event),
    "tslc release --dry-run": written("release", "command"),
    "tslc doctor": written("doctor", "_as_json"),
    "tslc pipeline render": written("pipeline", "render_"),
    "tslc pipeline brief": names(Brief),
    "tslc rag query": names(Passage),
    "tslc rag eval": names(RagFigures),
    "tslc rag load": written("rag", "load_"),
}


def test_every_command_that_prints_json_has_its_row() -> None:
    """An unknown row would be a typo, a missing one a command that nobody may rely on."""
    folder = ROOT / "toolkit" / "tslc" / "cli"
    printing = {file.stem for file in folder.glob("*.py") if "emit(" in file.read_text()}
    verbs = {"list_versions": "list", "change_options": "promote"}
    told = {name.split()[1] for name in told_keys() if name.startswith("tslc ")}
    assert {verbs.get(one, one) for one in printing} - {"output"} - told == set()
    assert set(told_keys()) == set(DOCUMENTS)


def told_keys() -> dict[str, set[str]]:
    table = CONTRACT.partition("## JSON")[2]
    found = {}
    for row in rows(table)[1:]:
        name = row[0] if not row[0].startswith("`") else CODE.findall(row[0])[0]
        found[name] = {key for key in CODE.findall(row[1]) if re.fullmatch(r"[a-z_0-9]+", key)}
    return found


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_keys_told_are_those_written(document: str) -> None:
    assert told_keys()[document] == DOCUMENTS[document]


def test_a_versions_keys_are_told() -> None:
    line = next(one for one in CONTRACT.splitlines() if one.startswith("A version's keys"))
    assert set(CODE.findall(line)) == VERSION
