"""The dashboard and the alerts ask for metrics that exist, in a shape their readers take."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import REGISTRY
from promql_parser import (
    AggregateExpr,
    BinaryExpr,
    Call,
    MatrixSelector,
    NumberLiteral,
    ParenExpr,
    StringLiteral,
    UnaryExpr,
    VectorSelector,
)

import tslc_handlers.metrics  # noqa: F401 - registers the workers' metrics
from tslc.domain.node_metrics import catalogue

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "tslc.json").read_text())
RULES = yaml.safe_load((ROOT / "deploy" / "prometheus" / "tslc.rules.yaml").read_text())
PANELS = [one for one in DASHBOARD["panels"] if one["type"] != "row"]
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]

# Prometheus' own.
OF_PROMETHEUS = {"up"}
_SUFFIXES = ("", "_total", "_bucket", "_count", "_sum", "_info")


def selectors(query: str) -> Iterator[VectorSelector]:
    """What a PromQL expression asks for; raises ValueError when it is none."""
    yield from _selectors(promql_parser.parse(query.replace("$__rate_interval", "1m")))


def _selectors(part: Any) -> Iterator[VectorSelector]:
    match part:
        case VectorSelector():
            yield part
        case MatrixSelector():
            yield part.vector_selector
        case BinaryExpr():
            yield from _selectors(part.lhs)
            yield from _selectors(part.rhs)
        case Call():
            for one in part.args:
                yield from _selectors(one)
        case AggregateExpr() | ParenExpr() | UnaryExpr():
            yield from _selectors(part.expr)
        case _:
            assert isinstance(part, NumberLiteral | StringLiteral), type(part)


def asked(query: str) -> list[str]:
    """The metrics an expression names, in their order."""
    return [str(one.name) for one in selectors(query)]


def vllm_names() -> set[str]:
    """Every metric that the installed vLLM's source names; it is not imported."""
    spec = importlib.util.find_spec("vllm")
    if spec is None or spec.origin is None:
        pytest.skip("vLLM is not installed")
    folder = Path(spec.origin).parent
    texts = [one.read_text("utf-8") for one in (folder / "v1" / "metrics").glob("*.py")]
    return {name for text in texts for name in re.findall(r'"(vllm:[a-z0-9_]+)"', text)}


def worker_names() -> set[str]:
    return {one.name for one in REGISTRY.collect() if one.name.startswith("tslc_")}


def expressions() -> Iterator[str]:
    for panel in PANELS:
        yield from (target["expr"] for target in panel["targets"])
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            inside = re.fullmatch(r"label_values\((.*), [a-z]+\)", variable["definition"])
            assert inside, variable["definition"]
            yield inside[1]
    yield from (one["expr"] for one in DASHBOARD["annotations"]["list"])
    yield from (rule["expr"] for rule in ALERTS)


def test_every_metric_that_is_asked_for_is_told_by_somebody() -> None:
    families = {one.name for one in catalogue.ALL} | worker_names() | vllm_names()
    told = {name + suffix for name in families for suffix in _SUFFIXES}
    wanted = {name for query in expressions() for name in asked(query)}
    assert wanted - told - OF_PROMETHEUS == set()
    assert {"tslc_router_requests_total", "vllm:kv_cache_usage_perc"} <= wanted


def test_every_label_that_is_asked_for_is_one_the_metric_has() -> None:
    of_workers = {"model", "version", "worker", "endpoint"}
    known = {one.sample_name: set(one.labels) for one in catalogue.ALL}
    for query in expressions():
        for one in selectors(query):
            labels = {matcher.name for matcher in one.matchers.matchers} - {"instance", "job"}
            assert labels <= known.get(str(one.name), of_workers), f"{one.name}: {labels}"


def test_what_the_docs_show_of_the_workers_exists() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    shown = {name for row in rows for name in re.findall(r"`([a-z:_0-9]+)`", row.split("|")[1])}
    families = {one.name for one in catalogue.ALL} | worker_names() | vllm_names()
    assert shown <= {name + suffix for name in families for suffix in _SUFFIXES}
    bare = {re.sub(r"_(total|info)$", "", name) for name in shown}
    assert worker_names() <= bare, "a worker's metric is not in the table"


# --- Grafana -------------------------------------------------------------------------------------


def test_the_dashboard_has_what_grafana_expects() -> None:
    assert DASHBOARD["schemaVersion"] >= 39
    assert DASHBOARD["id"] is None, "an import has no number yet"
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", DASHBOARD["uid"])
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    for panel in PANELS:
        assert panel["type"] in ("timeseries", "stat", "table")
        assert panel["title"]
        assert panel["description"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        refs = [target["refId"] for target in panel["targets"]]
        assert len(refs) == len(set(refs)) > 0


def test_panels_lie_side_by_side_and_not_on_each_other() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        grid = panel["gridPos"]
        mine = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert max(x for x, _ in mine) < 24
        assert not mine & cells, panel["title"]
        cells |= mine


def test_the_variables_that_are_used_are_there_each_after_those_it_needs() -> None:
    own = {"__rate_interval"}
    names: list[str] = []
    for variable in DASHBOARD["templating"]["list"]:
        used = set(re.findall(r"\$\{?(\w+)", json.dumps(variable.get("definition", ""))))
        assert used <= set(names), variable["name"]
        names.append(variable["name"])
    assert names == ["datasource", "environment", "node", "instance", "model", "version"]
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(PANELS)))
    assert used - own <= set(names)
    assert {"instance", "model", "version"} <= used


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: str(panel["title"]))
def test_rates_are_over_grafanas_own_interval(panel: Any) -> None:
    for target in panel["targets"]:
        for window in re.findall(r"\[([^]]*)\]", target["expr"]):
            assert window == "$__rate_interval"


# --- Prometheus ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: str(rule["alert"]))
def test_an_alert_has_what_prometheus_expects(rule: Any) -> None:
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations", "keep_firing_for"}
    assert re.fullmatch(r"Tslc[A-Z]\w+", rule["alert"])
    assert re.fullmatch(r"[0-9]+[smhd]", rule.get("for", "0s"))
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert set(rule["annotations"]) == {"summary", "description"}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: str(rule["alert"]))
def test_an_alerts_words_use_labels_that_its_expression_keeps(rule: Any) -> None:
    words = " ".join(rule["annotations"].values())
    used = set(re.findall(r"\$labels\.(\w+)", words))
    query = rule["expr"]
    aggregated = re.search(r"sum by \(([^)]*)\)", query)
    if aggregated:
        kept = {one.strip() for one in aggregated[1].split(",")}
    else:
        labels = {one.sample_name: set(one.labels) for one in catalogue.ALL}
        kept = labels.get(asked(query)[0], set()) | {"instance"}
    joined = {"environment", "node"} if "tslc_agent_info" in query else set()
    assert used <= kept | joined
