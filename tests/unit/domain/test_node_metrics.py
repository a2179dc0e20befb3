"""What a node tells Prometheus: names, labels, sums that survive what Envoy forgets."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tslc.domain.door import DoorName
from tslc.domain.node_metrics import catalogue
from tslc.domain.node_metrics.family import Metric
from tslc.domain.node_metrics.ledger import Ledger
from tslc.domain.node_metrics.of_agent import of_agent
from tslc.domain.node_metrics.of_router import EnvoyStats, of_router, readings, refusal
from tslc.domain.node_metrics.of_workers import UnreadableMetrics, merged, of_worker
from tslc.domain.release.actual import Job
from tslc.domain.release.report import ModelReport, NodeReport, Phase, VersionReport
from tslc.domain.release.state import EnvironmentState, ModelState
from tslc.domain.router.names import chain_cluster, shadow_cluster, version_cluster
from tslc.domain.router.table import Segment, UpstreamName

OLD, NEW = UpstreamName("m", "1.0.0"), UpstreamName("m", "1.1.0+b.2")
DOOR = DoorName("m", "1.0.0", 7)


def value(metrics: Iterable[Metric], name: str, **labels: str) -> float:
    """Of the one sample with these labels among its own."""
    found = [
        sample.value
        for one in metrics
        for sample in one.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    (only,) = found
    return only


# --- names ---------------------------------------------------------------------------------------


def test_names_follow_prometheus_rules_and_every_metric_says_what_it_tells() -> None:
    names = [one.name for one in catalogue.ALL]
    assert len(names) == len(set(names))
    for one in catalogue.ALL:
        assert re.fullmatch(r"tslc_[a-z]+(_[a-z]+)*", one.name)
        assert not one.name.endswith(("_total", "_info", "_count", "_sum", "_bucket"))
        assert not re.search(r"milli|percent|minutes|gauge|counter|histogram", one.name)
        assert one.help.endswith(".")
        assert one.kind in ("counter", "gauge", "histogram", "info")


def test_the_page_in_docs_shows_the_catalogue() -> None:
    page = Path(__file__).parents[3] / "docs" / "metrics.md"
    assert catalogue.table() in page.read_text(), f"put into {page}:\n{catalogue.table()}"


# --- workers -------------------------------------------------------------------------------------

PAGE = """\
# HELP python_info Python platform information.
# TYPE python_info gauge
python_info{version="3.11"} 1.0
# HELP tslc_requests_total Requests answered.
# TYPE tslc_requests_total counter
tslc_requests_total{endpoint="/v1/x",status="200"} 3.0
# HELP tslc_requests_created Requests answered.
# TYPE tslc_requests_created gauge
tslc_requests_created{endpoint="/v1/x",status="200"} 1.79e+09
# HELP vllm:cache_config_info Configuration of the cache.
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{version="v9",block_size="16"} 1.0
# HELP vllm:time_to_first_token_seconds Time to first token.
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{le="0.5"} 1.0
vllm:time_to_first_token_seconds_bucket{le="+Inf"} 2.0
vllm:time_to_first_token_seconds_count 2.0
vllm:time_to_first_token_seconds_sum 1.5
"""


def test_a_workers_metrics_say_whose_they_are_and_nothing_of_its_process() -> None:
    found = of_worker(PAGE, DOOR)
    names = [one.family.name for one in found]
    assert names == ["tslc_requests", "vllm:cache_config_info", "vllm:time_to_first_token_seconds"]
    own = {"model": "m", "version": "1.0.0", "worker": "7"}
    for one in found:
        assert all(own.items() <= sample.labels.items() for sample in one.samples)
    assert value(found, "tslc_requests_total", status="200", **own) == 3
    assert len(found[2].samples) == 4


def test_a_label_that_means_something_else_is_kept_under_another_name() -> None:
    (sample,) = of_worker(PAGE, DOOR)[1].samples
    assert (sample.labels["version"], sample.labels["exported_version"]) == ("1.0.0", "v9")


def test_families_of_several_workers_become_one() -> None:
    both = [*of_worker(PAGE, DOOR), *of_worker(PAGE, DoorName("m", "1.1.0", 8))]
    found = list(merged(both))
    assert len(found) == 3
    assert [sample.labels["worker"] for sample in found[0].samples] == ["7", "8"]


def test_where_workers_disagree_on_a_kind_the_first_ones_holds() -> None:
    other = PAGE.replace("tslc_requests_total counter", "tslc_requests gauge").replace(
        "tslc_requests_total", "tslc_requests"
    )
    found = list(merged([*of_worker(PAGE, DOOR), *of_worker(other, DoorName("m", "2", 8))]))
    assert [sample.labels["worker"] for sample in found[0].samples] == ["7"]


@pytest.mark.parametrize("text", ["<html>", 'tslc_x{a="1} 2', "tslc_x one"])
def test_what_is_not_prometheus_format_is_an_error(text: str) -> None:
    with pytest.raises(UnreadableMetrics):
        of_worker(text, DOOR)


@given(st.text())
def test_whatever_a_worker_says_is_read_or_an_error(text: str) -> None:
    with contextlib.suppress(UnreadableMetrics):
        of_worker(text, DOOR)


# --- the router ----------------------------------------------------------------------------------


def envoy(
    clusters: dict[str, dict[str, int]], bins: dict[str, list[dict[str, float]]] | None = None
) -> EnvoyStats:
    """Statistics as Envoy tells them."""
    stats: list[dict[str, object]] = [
        {"name": f"cluster.{cluster}.{name}", "value": number}
        for cluster, numbers in clusters.items()
        for name, number in {"membership_healthy": 0, **numbers}.items()
    ]
    details = [
        {"name": f"cluster.{cluster}.upstream_rq_time", "totals": each, "intervals": []}
        for cluster, each in (bins or {}).items()
    ]
    stats.append({"histograms": {"details": details}})
    return EnvoyStats.parse(json.dumps({"stats": stats}).encode())


def told(*looks: EnvoyStats) -> list[Metric]:
    """After a first look that found nothing, and these."""
    ledger = Ledger()
    for now, stats in enumerate((EnvoyStats(), *looks)):
        ledger.take(readings(stats), float(now))
    return list(of_router(looks[-1], ledger.totals))


def test_a_request_belongs_to_the_version_drawn_and_an_attempt_to_the_one_asked() -> None:
    found = told(
        envoy(
            {
                chain_cluster("m", ["1.0.0", NEW.version]): {
                    "upstream_rq_2xx": 8, "upstream_rq_5xx": 1, "upstream_rq_retry": 2,
                },
                version_cluster(OLD): {
                    "upstream_rq_2xx": 3, "upstream_rq_total": 9, "upstream_rq_active": 4,
                    "upstream_cx_connect_fail": 2, "membership_healthy": 1,
                },
                version_cluster(NEW): {"upstream_rq_total": 5},
                shadow_cluster(NEW): {"upstream_rq_2xx": 6, "upstream_rq_total": 6},
            }
        )
    )  # fmt: skip
    old = {"model": "m", "version": "1.0.0"}
    new = {"model": "m", "version": "1.1.0+b.2"}
    assert value(found, "tslc_router_requests_total", code_class="2xx", **old) == 11
    assert value(found, "tslc_router_requests_total", code_class="5xx", **old) == 1
    assert value(found, "tslc_router_requests_total", code_class="5xx", **new) == 0
    assert value(found, "tslc_router_attempts_total", **old) == 9
    assert value(found, "tslc_router_attempts_total", **new) == 5
    assert value(found, "tslc_router_retries_total", **old) == 2
    assert value(found, "tslc_router_connect_failures_total", **old) == 2
    assert value(found, "tslc_router_active_requests", **old) == 4
    assert value(found, "tslc_router_healthy_workers", **old) == 1
    assert value(found, "tslc_router_healthy_workers", **new) == 0
    assert value(found, "tslc_router_shadow_requests_total", code_class="2xx", **new) == 6


def test_durations_fall_into_the_buckets_of_the_workers_histograms() -> None:
    bins = [
        {"lower_bound": 0, "width": 0, "count": 4},
        {"lower_bound": 4, "width": 0.1, "count": 3},
        {"lower_bound": 240, "width": 10, "count": 2},
        {"lower_bound": 400000, "width": 10000, "count": 1},
    ]
    cluster = version_cluster(OLD)
    found = told(envoy({cluster: {}}, {cluster: bins}))
    name = "tslc_router_request_seconds"
    below = {le: value(found, f"{name}_bucket", le=le) for le in ("0.005", "0.1", "0.25", "300.0")}
    assert below == {"0.005": 7, "0.1": 7, "0.25": 9, "300.0": 9}
    assert value(found, f"{name}_bucket", le="+Inf") == value(found, f"{name}_count") == 10
    assert value(found, f"{name}_sum") == pytest.approx(0.01215 + 0.49 + 405)


def test_what_a_vanished_chain_counted_stays_counted() -> None:
    chain, alone = chain_cluster("m", ["1.0.0", "1.1.0"]), version_cluster(OLD)
    found = told(
        envoy({chain: {"upstream_rq_2xx": 100}, alone: {"upstream_rq_2xx": 5}}),
        envoy({alone: {"upstream_rq_2xx": 7}}),
    )
    assert value(found, "tslc_router_requests_total", code_class="2xx") == 107


def test_a_router_that_does_not_answer_is_down_and_its_totals_are_told() -> None:
    ledger = Ledger()
    ledger.take((), 0.0)
    ledger.take(readings(envoy({version_cluster(OLD): {"upstream_rq_2xx": 5}})), 1.0)
    found = list(of_router(None, ledger.totals))
    assert value(found, "tslc_router_up") == 0
    assert value(found, "tslc_router_requests_total", code_class="2xx") == 5
    assert "tslc_router_healthy_workers" not in {one.family.name for one in found}


@pytest.mark.parametrize("content", [b"", b"[]", b'{"stats": [{"name": "x"}]}', b"null"])
def test_what_envoy_would_not_say_is_an_error(content: bytes) -> None:
    with pytest.raises(ValueError):
        EnvoyStats.parse(content)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b'{"first_byte_ms":null,"status":404,"version":null}', "404"),
        (b'{"first_byte_ms":null,"status":503,"version":"1.0.0"}', "503"),
        (b'{"first_byte_ms":null,"status":200,"version":null}', None),
        (b'{"first_byte_ms":null,"status":0,"version":null}', None),
        (b'{"first_byte_ms":3,"status":500,"version":"1.0.0"}', None),
        (b'{"first_byte_ms":3,"path":"/\\"first_byte_ms\\":null","status":500}', None),
        (b'{"first_byte_ms":null,"status":404', None),
    ],
)
def test_a_refusal_is_an_error_that_no_worker_answered(line: bytes, status: str | None) -> None:
    assert refusal(line) == status


# --- the agent -----------------------------------------------------------------------------------

REPORT = NodeReport(
    node="n1",
    environment="prod",
    generation=7,
    tslc="0.1.0",
    started="",
    models={
        "m": ModelReport(
            as_desired=False,
            versions={
                "1": VersionReport(Phase.READY, share=9950, workers=2, ready=1, memory=1024),
                "2": VersionReport(Phase.FAILED),
            },
        )
    },
    problems=("one",),
)


def test_the_agents_report_becomes_metrics() -> None:
    state = ModelState(("1", "2"), (Segment("1", 9000), Segment("2", 1000)))
    desired = EnvironmentState("prod", models={"m": state})
    found = list(of_agent(REPORT, desired, {(Job.HEAL, True): 2}, away=True))
    assert value(found, "tslc_agent_info", tslc="0.1.0", environment="prod", node="n1") == 1
    assert value(found, "tslc_store_reachable") == 0
    assert value(found, "tslc_node_generation") == 7
    assert value(found, "tslc_node_problems") == 1
    assert value(found, "tslc_node_as_desired", model="m") == 0
    assert value(found, "tslc_version_share_ratio", version="1") == 0.995
    assert value(found, "tslc_version_desired_share_ratio", version="2") == 0.1
    assert value(found, "tslc_version_workers", version="1") == 2
    assert value(found, "tslc_version_ready_workers", version="1") == 1
    assert value(found, "tslc_version_memory_bytes", version="1") == 1024
    assert value(found, "tslc_version_phase", version="2", phase="failed") == 1
    assert value(found, "tslc_version_phase", version="2", phase="ready") == 0
    assert value(found, "tslc_agent_jobs_total", job="heal", outcome="failed") == 2
    assert value(found, "tslc_agent_jobs_total", job="load", outcome="ok") == 0


def test_without_a_report_only_what_is_known_is_told() -> None:
    names = {one.family.name for one in of_agent(None, None, {}, away=False)}
    assert names == {"tslc_store_reachable", "tslc_agent_jobs"}
