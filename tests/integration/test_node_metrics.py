"""The node's page of metrics: a real worker, a real Envoy, read back by Prometheus' parser."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from environments import MODEL, push, restarted, served
from nodes import TinyArchives, eventually, short_folder
from routers import SALT, Router, Worker, route, running, upstream, worker
from s3 import S3Server
from tslc.adapters import envoy_process
from tslc.adapters.agent_folder import AgentFolder
from tslc.adapters.envoy_router import EnvoyRouter
from tslc.adapters.loopback_ports import pick_free
from tslc.domain.node import NodePaths
from tslc.domain.node_metrics import catalogue
from tslc.domain.release.actual import Job
from tslc.domain.release.report import ModelReport, NodeReport, Phase, VersionReport
from tslc.domain.release.state import EnvironmentState, ModelState
from tslc.domain.router.settings import RouterPaths, RouterSettings
from tslc.domain.router.table import RouterTable, Segment, Shadow
from tslc.errors import TslcError
from tslc.verbs.agent.metrics import NodeMetrics

pytestmark = pytest.mark.integration

REPORT = NodeReport(
    *("n1", "prod", 3, "0.1.0", ""),
    models={"m": ModelReport(True, {"1.0.0": VersionReport(Phase.READY, 10_000, 1, 1)})},
)


@dataclass
class Page:
    """A node's metrics, as they are served."""

    port: int

    def text(self, accept: str = "text/plain") -> str:
        url = f"http://127.0.0.1:{self.port}/metrics"
        return httpx.get(url, headers={"accept": accept}, timeout=10).text

    def families(self) -> dict[str, Metric]:
        return {one.name: one for one in text_string_to_metric_families(self.text())}

    def value(self, name: str, **labels: str) -> float:
        """The sum over the samples with these labels."""
        return sum(
            sample.value
            for one in self.families().values()
            for sample in one.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def comes_to(self, wanted: float, name: str, **labels: str) -> bool:
        return eventually(lambda: self.value(name, **labels) == wanted, 15)


@dataclass
class OwnPage(Page):
    """Served by this process."""

    metrics: NodeMetrics


@contextmanager
def serving(
    paths: NodePaths, report: Callable[[], NodeReport | None] = lambda: REPORT
) -> Iterator[OwnPage]:
    page = OwnPage(pick_free(1)[0], NodeMetrics(paths, report, lambda: False))
    page.metrics.start()
    page.metrics.serve(page.port)
    try:
        yield page
    finally:
        page.metrics.close()


@pytest.fixture
def node() -> Iterator[NodePaths]:
    """The folders of a node that runs nothing."""
    with short_folder() as folder:
        paths = NodePaths(folder / "n")
        for one in paths.folders:
            one.mkdir(parents=True)
        yield paths


@contextmanager
def router_of(node: NodePaths) -> Iterator[Router]:
    paths = RouterPaths(node.router)
    settings = RouterSettings(port=pick_free(1)[0], hash_salt=SALT)
    envoy_process.prepare(paths, settings)
    with running(paths, settings) as process:
        one = Router(EnvoyRouter(paths, settings), process)
        assert eventually(lambda: one.envoy.state().listening, 30), one.envoy.state()
        yield one
        one.client.close()


def door_of(node: NodePaths, model: str, version: str, one: Worker) -> Path:
    """The worker's socket under the name of a worker's door."""
    path = node.run / f"{model}@{version}@{one.process.pid}.sock"
    path.symlink_to(one.door)
    return path


@pytest.fixture
def served_archive(node: NodePaths) -> Iterator[Path]:
    """A worker with the handlers' own door, around the tiny engine."""
    folder = node.root / "archive"
    (folder / "MAR-INF").mkdir(parents=True)
    manifest = {
        "model": {
            "modelName": "m", "modelVersion": "1.0.0",
            "handler": "tiny_handler.py", "configFile": "model-config.yaml",
        }
    }  # fmt: skip
    (folder / "MAR-INF" / "MANIFEST.json").write_text(json.dumps(manifest))
    (folder / "model-config.yaml").write_text("handler: {}\n")
    socket_ = node.root / "worker"
    command = [sys.executable, "-m", "tslc_handlers.serve", str(folder), "--uds", str(socket_)]
    tiny = Path(__file__).parents[1] / "tiny_engine"
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(tiny)})
    try:
        assert eventually(socket_.exists, 30)
        door = node.run / f"m@1.0.0@{process.pid}.sock"
        door.symlink_to(socket_)
        yield door
    finally:
        process.terminate()
        process.wait(15)


def test_a_worker_tells_its_metrics_as_its_versions(node: NodePaths, served_archive: Path) -> None:
    transport = httpx.HTTPTransport(uds=str(served_archive))
    with httpx.Client(transport=transport, base_url="http://door", timeout=30) as client:
        body = {"prompt": "a b", "max_tokens": 3}
        assert client.post("/v1/completions", json=body).status_code == 200
    with serving(node) as page:
        mine = {"model": "m", "version": "1.0.0", "worker": served_archive.name.split("@")[2][:-5]}
        assert page.value("tslc_requests_total", status="200", **mine) == 1
        assert page.value("tslc_first_byte_seconds_count", **mine) == 1
        names = set(page.families())
    assert not [name for name in names if name.startswith(("process_", "python_"))]


def test_the_router_tells_who_was_asked_and_what_it_refused(node: NodePaths) -> None:
    with (
        worker(node.root, "m", "1.0.0") as old,
        worker(node.root, "m", "1.1.0+b.2") as new,
        router_of(node) as router,
        serving(node) as page,
    ):
        shares = [("1.0.0", 10_000)]
        more = {"ready": ("1.0.0", "1.1.0+b.2"), "spare": ("1.0.0", "1.1.0+b.2")}
        upstreams = (upstream("m", "1.0.0", old), upstream("m", "1.1.0+b.2", new))
        shadow = Shadow("1.1.0+b.2", 10_000)
        table = RouterTable((route("m", shares, shadow=shadow, **more),), upstreams)
        router.serve(table)
        for _ in range(20):
            assert router.version() == "1.0.0"
        for _ in range(3):
            assert router.ask("nobody").status_code == 404
        assert page.comes_to(20, "tslc_router_requests_total", version="1.0.0", code_class="2xx")
        assert page.comes_to(20, "tslc_router_shadow_requests_total", version="1.1.0+b.2")
        assert page.comes_to(20, "tslc_router_request_seconds_count", version="1.0.0")
        assert page.comes_to(3, "tslc_router_refused_total", code="404")
        assert page.value("tslc_router_attempts_total", version="1.0.0") == 20
        assert page.value("tslc_router_healthy_workers", model="m") == 2
        assert page.value("tslc_router_up") == 1

        # Another chain takes the place of the first one, and its counts.
        alone = RouterTable((route("m", shares, ready=("1.0.0",), spare=("1.0.0",)),), upstreams)
        router.serve(alone)
        router.upstreams(alone)
        assert eventually(lambda: ">" not in "".join(router.envoy.state().clusters), 15)
        for _ in range(5):
            router.version()
        assert page.comes_to(25, "tslc_router_requests_total", model="m")

        router.serve(table)
        old.kill()
        for _ in range(4):
            assert router.version() == "1.1.0+b.2"
        assert page.comes_to(29, "tslc_router_requests_total", version="1.0.0", code_class="2xx")
        assert page.comes_to(4, "tslc_router_attempts_total", version="1.1.0+b.2")
        assert page.value("tslc_router_connect_failures_total", version="1.0.0") >= 1

        new.kill()
        assert router.ask("m").status_code == 503
        assert page.comes_to(1, "tslc_router_requests_total", version="1.0.0", code_class="5xx")
        assert page.comes_to(1, "tslc_router_refused_total", code="503")


def test_every_metric_of_the_catalogue_is_on_the_page_of_a_node_that_runs(node: NodePaths) -> None:
    full = VersionReport(Phase.READY, 10_000, 1, 1, memory=5)
    report = NodeReport(
        *("n1", "prod", 3, "0.1.0", ""), models={"m": ModelReport(True, {"1.0.0": full})}
    )
    with (
        worker(node.root, "m", "1.0.0") as one,
        router_of(node) as router,
        serving(node, lambda: report) as page,
    ):
        router.serve(
            RouterTable((route("m", [("1.0.0", 10_000)]),), (upstream("m", "1.0.0", one),))
        )
        state = ModelState(("1.0.0",), (Segment("1.0.0", 10_000),))
        AgentFolder(node).write_desired(EnvironmentState("prod", models={"m": state}))
        page.metrics.count_job(Job.LOAD, failed=False)
        assert page.comes_to(1, "tslc_agent_jobs_total", job="load", outcome="ok")
        text = page.text()
        strict = page.text("application/openmetrics-text; version=1.0.0")
        found = page.families()
    for family in catalogue.ALL:
        name = family.sample_name if family.kind == "info" else family.name
        assert name in found, name
        assert found[name].documentation == family.help
    assert text.count("# TYPE tslc_router_requests_total ") == 1
    assert list(openmetrics.text_string_to_metric_families(strict))


@pytest.mark.alone
def test_a_scrape_ends_in_time_whoever_hangs_and_says_who_did(node: NodePaths) -> None:
    with (
        worker(node.root, "m", "1.0.0") as hung,
        worker(node.root, "m", "2.0.0") as dead,
        router_of(node) as router,
        serving(node) as page,
    ):
        door_of(node, "m", "1.0.0", hung)
        door_of(node, "m", "2.0.0", dead)
        assert page.comes_to(1, "tslc_router_up")
        dead.kill()
        errors_of_dead = {"source": "worker", "version": "2.0.0"}
        before = page.value("tslc_scrape_errors_total", **errors_of_dead)
        stopped = (hung.process.pid, router.process.pid)
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            begun = time.monotonic()
            found = page.families()
            took = time.monotonic() - begun
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
        assert took < 3
        assert found["tslc_router_up"].samples[0].value == 0
        errors = {
            (one.labels["source"], one.labels["version"]): one.value
            for one in found["tslc_scrape_errors"].samples
        }
        assert errors["router", ""] >= 1
        assert errors["worker", "1.0.0"] >= 1
        assert errors["worker", "2.0.0"] == before, "a dead worker has nothing to tell"
        assert page.comes_to(1, "tslc_router_up")


def test_a_worker_that_tells_nonsense_costs_only_its_own_metrics(node: NodePaths) -> None:
    with worker(node.root, "m", "1.0.0") as one, serving(node) as page:
        door_of(node, "m", "1.0.0", one)  # its /metrics is JSON
        assert page.value("tslc_node_generation") == 3
        assert page.value("tslc_scrape_errors_total", source="worker", version="1.0.0") >= 1


def test_a_port_that_is_taken_is_said_with_a_way_out(node: NodePaths) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(TslcError, match=f"127.0.0.1:{port}") as caught:
            NodeMetrics(node, lambda: None, lambda: False).serve(port)
    assert "--node-metrics-port" in str(caught.value.hint)


def test_a_whole_node_tells_of_its_requests_its_split_and_what_its_agent_did(
    s3: S3Server, archives: TinyArchives
) -> None:
    with short_folder() as folder, served(s3, archives, folder) as environment:
        push(environment.shop, "1.0.0", "1.1.0")
        environment("promote", MODEL, "1.0.0", "--wait")
        environment("split", MODEL, "1.0.0=50", "1.1.0=50", "--wait")
        node = environment.node
        answered = [node.ask().headers["x-tslc-version"] for _ in range(30)]
        page = Page(node.node.ports["node_metrics"])
        assert page.comes_to(30, "tslc_router_requests_total", model=MODEL, code_class="2xx")
        assert page.comes_to(30, "tslc_router_request_seconds_count", model=MODEL)
        for version in ("1.0.0", "1.1.0"):
            mine = {"model": MODEL, "version": version}
            assert page.value("tslc_router_requests_total", **mine) > 0
            # The workers of a version also answered its golden prompts.
            assert page.value("tslc_first_byte_seconds_count", **mine) >= answered.count(version)
            assert page.value("tslc_version_share_ratio", **mine) == 0.5
            assert page.value("tslc_version_desired_share_ratio", **mine) == 0.5
            assert page.value("tslc_version_phase", phase="ready", **mine) == 1
        assert page.value("tslc_agent_jobs_total", job="load", outcome="ok") == 2
        assert page.value("tslc_node_as_desired", model=MODEL) == 1
        assert page.value("tslc_store_reachable") == 1
        assert page.value("tslc_agent_info", environment="dev") == 1

        before = node.program("agent").pid
        node.kill("agent")
        assert restarted(node, "agent", before)
        assert eventually(lambda: is_served(page), 15)
        assert page.comes_to(1, "tslc_node_as_desired", model=MODEL)


def is_served(page: Page) -> bool:
    try:
        return "tslc_store_reachable" in page.text()
    except httpx.TransportError:
        return False
