"""Envoy routes as the table says: by body, by path, by version; everything else is refused."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from routers import Router, Worker, route, router, upstream, worker
from tslc.domain.router.table import ModelRoute, RouterTable, Shadow, Sticky, StickyBy

pytestmark = pytest.mark.integration
BY_USER = Sticky(StickyBy.HEADER, "x-user-id")


@pytest.fixture(scope="module")
def workers(short_folder: Path) -> Iterator[dict[str, Worker]]:
    with (
        worker(short_folder, "m", "1.0.0") as old,
        worker(short_folder, "m", "1.1.0+b.2") as new,
        worker(short_folder, "other", "7") as other,
    ):
        yield {"old": old, "new": new, "other": other}


@pytest.fixture(scope="module")
def running(short_folder: Path) -> Iterator[Router]:
    with router(short_folder) as one:
        yield one


@pytest.fixture
def table(workers: dict[str, Worker]) -> RouterTable:
    return RouterTable(
        models=(
            route("m", [("1.0.0", 9000), ("1.1.0+b.2", 1000)], names=("org/m", 'we"ird %{}')),
            route("other", [("7", 10_000)]),
            ModelRoute("gone", (), ()),
        ),
        upstreams=(
            upstream("m", "1.0.0", workers["old"]),
            upstream("m", "1.1.0+b.2", workers["new"]),
            upstream("other", "7", workers["other"]),
        ),
    )


def error_of(answer: Any, status: int) -> str:
    """The message of an error in OpenAI's shape."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == status
    assert error["param"] is None
    assert error["message"]
    assert answer.headers["content-type"] == "application/json"
    return str(error["message"])


def test_the_bodys_model_chooses_among_models(running: Router, table: RouterTable) -> None:
    running.serve(table)
    assert running.ask("other").headers["x-tslc-version"] == "7"
    answer = running.ask("m")
    assert answer.headers["x-tslc-model"] == "m"
    assert answer.headers["x-tslc-version"] in ("1.0.0", "1.1.0+b.2")
    assert answer.json()["path"] == "/v1/echo"


def test_another_name_of_a_model_means_it(running: Router, table: RouterTable) -> None:
    running.serve(table)
    for name in ("org/m", 'we"ird %{}'):
        assert running.ask(name).headers["x-tslc-model"] == "m"


def test_a_content_type_with_a_charset_or_none_is_read_as_well(
    running: Router, table: RouterTable
) -> None:
    running.serve(table)
    for kind in ({"content-type": "application/json; charset=utf-8"}, {}):
        answer = running.client.post("/v1/echo", content=b'{"model":"other"}', headers=kind)
        assert answer.headers["x-tslc-model"] == "other"


def test_the_path_chooses_a_model_whatever_the_body_says(
    running: Router, table: RouterTable
) -> None:
    running.serve(table)
    answer = running.ask("m", "/other/v1/echo?a=b")
    assert answer.headers["x-tslc-model"] == "other"
    assert answer.json()["path"] == "/v1/echo"
    assert answer.json()["query"] == "a=b"
    assert running.client.get("/other/v1/models").json()["data"][0]["id"] == "tiny"


def test_the_router_lists_the_models_that_can_answer(running: Router, table: RouterTable) -> None:
    running.serve(table)
    listed = running.client.get("/v1/models").json()
    assert listed["object"] == "list"
    assert [one["id"] for one in listed["data"]] == ["m", "other"]


def test_health_says_which_models_can_not_answer(running: Router, table: RouterTable) -> None:
    running.serve(table)
    answer = running.client.get("/health")
    assert answer.status_code == 503
    assert answer.json() == {"ok": False, "models": 3, "not_ready": ["gone"]}
    running.serve(RouterTable(table.models[:2], table.upstreams))
    assert running.client.get("/health").status_code == 200
    assert running.client.head("/health").status_code == 200


def test_errors_of_the_router_have_the_one_shape(running: Router, table: RouterTable) -> None:
    running.serve(table)
    assert "'nobody'" in error_of(running.ask("nobody"), 404)
    assert "'a\"b%{}'" in error_of(running.ask('a"b%{}'), 404)
    assert "names a model" in error_of(running.ask(None), 400)
    assert "names a model" in error_of(running.client.post("/v1/echo", content=b"{"), 400)
    assert "gone" in error_of(running.ask("gone"), 503)
    assert "gone" in error_of(running.ask("m", "/gone/v1/echo"), 503)
    assert "/nobody/v1/echo" in error_of(running.ask("m", "/nobody/v1/echo"), 404)
    large = b'{"model":"m","x":"' + b"x" * (32 * 1024 * 1024) + b'"}'
    assert "32 MiB" in error_of(running.client.post("/v1/echo", content=large), 413)


def test_a_body_just_below_the_limit_arrives(running: Router, table: RouterTable) -> None:
    running.serve(table)
    body = b'{"model":"other","x":"' + b"x" * (32 * 1024 * 1024 - 100) + b'"}'
    answer = running.client.post("/v1/echo", content=body)
    assert answer.status_code == 200
    assert answer.json()["headers"]["content-length"] == str(len(body))


def test_a_version_is_asked_for_where_that_is_allowed(running: Router, table: RouterTable) -> None:
    open_table = RouterTable(table.models, table.upstreams, pinning=True)
    running.serve(open_table)
    for version in ("1.0.0", "1.1.0+b.2"):
        wish = {"x-tslc-version": version}
        assert running.version(headers=wish) == version
        assert running.version(path="/m/v1/echo", headers=wish) == version
    message = error_of(running.ask(headers={"x-tslc-version": "9"}), 404)
    assert "1.0.0, 1.1.0+b.2" in message
    assert "7" in error_of(running.ask("other", headers={"x-tslc-version": "1.0.0"}), 404)


def test_a_version_can_not_be_asked_for_elsewhere(running: Router, table: RouterTable) -> None:
    running.serve(table)
    for path in ("/v1/echo", "/m/v1/echo"):
        error_of(running.ask(path=path, headers={"x-tslc-version": "1.0.0"}), 403)


@pytest.mark.parametrize(
    "path",
    [
        "/metrics", "/ready", "/stats", "/config_dump", "/quitquitquit", "/models", "/ping",
        "/m/metrics", "/m/health", "/m/v1", "/m", "/",
        "/m/v1/../metrics", "/m/v1/%2e%2e/metrics", "/m/v1/.%2e/metrics", "/m//v1/..//../metrics",
        "/v1/../metrics", "/m/v1/..\\metrics", "/m/v1/..;/metrics", "/m/v1/%2f..%2f../metrics",
        "/m/v1/..%5cmetrics", "/m/v1/%252e%252e/metrics", "/health/../metrics", "/health/metrics",
        "/m/v1/x/../../ready", "/./metrics", "//metrics", "/m/v1/../../metrics?/v1/",
        "/predictions/m", "/predictions/m/1.0.0",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nothing_else_is_reachable(
    running: Router, table: RouterTable, path: str, method: str
) -> None:
    running.serve(table)
    body = b'{"model":"m"}'
    status, text = raw(running, method, path, body)
    assert status in (400, 404), text
    assert "inner" not in text


def raw(running: Router, method: str, target: str, body: bytes = b"") -> tuple[int, str]:
    """A request whose target nobody tidies up."""
    with socket.create_connection(("127.0.0.1", running.envoy.settings.port), 10) as one:
        head = f"{method} {target} HTTP/1.1\r\nhost: r\r\n"
        one.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        with one.makefile("rb") as reply:
            status = int(reply.readline().split()[1])
            head = "".join(iter(lambda: reply.readline().decode().strip().lower(), ""))
            length = head.partition("content-length:")[2] or "0"
            return status, reply.read(int(re.match(r"\s*\d+", length)[0])).decode()


def test_a_target_with_a_host_is_no_way_around(running: Router, table: RouterTable) -> None:
    running.serve(table)
    for target in ("http://worker/metrics", "http://127.0.0.1/m/v1/../metrics"):
        assert raw(running, "GET", target)[0] == 404
    assert raw(running, "CONNECT", "worker:80")[0] == 403


def test_no_header_of_a_client_steers_envoy_or_reaches_a_worker(
    running: Router, table: RouterTable
) -> None:
    running.serve(table)
    headers = {
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-retry-on": "5xx",
        "x-envoy-max-retries": "50",
        "x-envoy-original-path": "/metrics",
        "x-envoy-decorator-operation": "x",
        "x-tslc-user": "me",
        "x-tslc-key-sha256": "00",
        "x-tslc-versions": "1",
        "x-tslc-": "1",
        "x-tslc-bridge-version": "9",
        "authorization": "Bearer of-nobody",
    }
    answer = running.ask("m", headers=headers)
    assert answer.status_code == 200
    seen = answer.json()["headers"]
    assert not [name for name in seen if name.startswith(("x-envoy-", "x-tslc-"))]
    assert "authorization" not in seen
    slow = {"model": "m", "prompt": "a", "max_tokens": 2, "tiny": {"delay": 0.1}}
    assert running.client.post("/v1/completions", json=slow, headers=headers).status_code == 200


def test_a_request_id_is_made_or_kept(running: Router, table: RouterTable) -> None:
    running.serve(table)
    answer = running.ask("m")
    assert answer.headers["x-request-id"] == answer.json()["headers"]["x-request-id"]
    kept = running.ask("m", headers={"x-request-id": "mine-7"})
    assert kept.headers["x-request-id"] == kept.json()["headers"]["x-request-id"] == "mine-7"
    assert running.ask("nobody").headers["x-request-id"]


def test_an_engines_own_errors_pass_unchanged(running: Router, table: RouterTable) -> None:
    running.serve(table)
    crash = {"model": "other", "prompt": "a", "tiny": {"crash": True}}
    answer = running.client.post("/v1/completions", json=crash)
    assert answer.status_code == 500
    assert "asked to fail" in answer.json()["error"]["message"]
    assert running.logged(answer.headers["x-request-id"])["attempts"] == 1


def test_shadow_requests_are_answered_by_nobody_the_client_sees(
    running: Router, workers: dict[str, Worker]
) -> None:
    ups = (upstream("m", "1.0.0", workers["old"]), upstream("m", "1.1.0+b.2", workers["new"]))
    shadowed = route(
        "m", [("1.0.0", 10_000)], ready=("1.0.0", "1.1.0+b.2"), spare=("1.0.0",),
        shadow=Shadow("1.1.0+b.2", 10_000),
    )  # fmt: skip
    running.serve(RouterTable((shadowed,), ups))
    before = workers["new"].generated()
    body = {"prompt": "a", "max_tokens": 1}
    for _ in range(20):
        assert running.version(path="/v1/completions", body=body) == "1.0.0"
    from nodes import eventually

    assert eventually(lambda: workers["new"].generated() == before + 20)


def test_a_shadow_that_is_stuck_or_dead_hurts_nobody(
    running: Router, workers: dict[str, Worker], short_folder: Path
) -> None:
    with worker(short_folder, "m", "2") as bad:
        ups = (upstream("m", "1.0.0", workers["old"]), upstream("m", "2", bad))
        shadow = route("m", [("1.0.0", 10_000)], shadow=Shadow("2", 5000))
        running.serve(RouterTable((shadow,), ups))
        bad.kill()
        body = {"prompt": "a", "max_tokens": 1}
        for _ in range(50):
            assert running.version(path="/v1/completions", body=body) == "1.0.0"


def test_a_bridged_archive_is_asked_at_its_versions_own_path(short_folder: Path) -> None:
    from tslc.adapters.loopback_ports import pick_free
    from tslc.domain.router.table import Upstream, UpstreamName

    port = pick_free(1)[0]
    ups = tuple(Upstream(UpstreamName("old", v), bridge=True) for v in ("1.0", "2.0"))
    split = route("old", [("1.0", 5000), ("2.0", 5000)], bridge=True, sticky=BY_USER)
    with (
        worker(short_folder, "old", "1.0", Path(str(port))) as frontend,
        router(short_folder, bridge_port=port) as one,
    ):
        assert frontend
        table = RouterTable((split,), ups, bridge_key="k%y")
        one.serve(table)
        seen = {}
        for user in range(30):
            mine = {"x-user-id": str(user), "authorization": "Bearer x"}
            answer = one.client.post("/predictions/old", content=b"raw", headers=mine)
            version = answer.headers["x-tslc-version"]
            seen[user] = version
            assert answer.json()["path"] == f"/predictions/old/{version}"
            assert answer.json()["headers"]["authorization"] == "Bearer k%y"
        assert set(seen.values()) == {"1.0", "2.0"}
        for path in ("/predictions/old/1.0", "/predictions/old/1.0/x", "/predictions/m"):
            assert one.client.post(path).status_code in (403, 404)
        one.serve(RouterTable((split,), ups, pinning=True, bridge_key="k%y"))
        assert one.client.post("/predictions/old/1.0").json()["path"] == "/predictions/old/1.0"
        error_of(one.client.post("/predictions/old/9"), 404)
        assert one.client.post("/predictions/old/../../models").status_code == 404
        assert json.loads(one.client.get("/v1/models").text)["data"] == []
