"""When a container says that it is well: asked of what the router itself would answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tslc.domain.node import node_paths
from tslc.domain.router.replies import HEALTH
from tslc.domain.router.routes import render_routes
from tslc.domain.router.settings import RouterPaths, RouterSettings
from tslc.domain.router.table import ModelRoute, RouterTable, Segment

Serve = Callable[[int, str], int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A server on 127.0.0.1 that always answers the same; its port."""
    servers = []

    def start(status: int, body: str) -> int:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(f"{body} at {self.path}".encode() if not body else body.encode())

            def log_message(self, *_: object) -> None: ...

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server.server_port

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def note(folder: Path, content: dict[str, str]) -> Path:
    path = folder / "note.json"
    path.write_text(json.dumps(content))
    return path


def node(home: Path, port: int, host: str = "0.0.0.0") -> Path:
    paths = RouterPaths(node_paths(home, "default").router)
    paths.root.mkdir(parents=True)
    paths.settings.write_text(RouterSettings(port=port, host=host, hash_salt="s" * 16).render())
    return note(home, {"node": "default"})


def answer(*models: ModelRoute) -> tuple[int, str]:
    """What a router with these models answers at /health."""
    settings = RouterSettings(port=1, hash_salt="s" * 16)
    found = json.loads(render_routes(RouterTable(models), settings).content)["resources"][0]
    routes = found["virtual_hosts"][0]["routes"]
    (health,) = [one for one in routes if one["match"].get("path") == HEALTH]
    reply = health["direct_response"]
    return reply["status"], reply["body"]["inline_string"]


READY = ModelRoute("a", (Segment("1", 10_000),), ("1",))
MISSING = ModelRoute("b", (), ())


@pytest.mark.parametrize(
    ("models", "well"),
    [((), True), ((READY,), True), ((READY, MISSING), True), ((MISSING,), False)],
)
def test_a_node_is_well_unless_nothing_of_what_is_wanted_can_be_asked(
    health, tmp_path: Path, serve: Serve, models: tuple[ModelRoute, ...], well: bool
) -> None:
    found, reason = health.look(node(tmp_path, serve(*answer(*models))), tmp_path)
    assert found is well
    assert json.loads(reason)["models"] == len(models)


def test_a_node_whose_router_does_not_answer_is_not_well(health, tmp_path: Path) -> None:
    found, reason = health.look(node(tmp_path, 1), tmp_path)
    assert not found
    assert "refused" in reason


@pytest.mark.parametrize("answer", [(404, "{}"), (503, "no healthy upstream"), (503, '"odd"')])
def test_an_answer_that_is_not_the_routers_is_not_well(
    health, tmp_path: Path, serve: Serve, answer: tuple[int, str]
) -> None:
    found, _ = health.look(node(tmp_path, serve(*answer)), tmp_path)
    assert not found


def test_a_node_that_was_not_yet_started_is_not_well(health, tmp_path: Path) -> None:
    assert not health.look(note(tmp_path, {"node": "default"}), tmp_path)[0]
    assert not health.look(tmp_path / "none", tmp_path)[0]


@pytest.mark.parametrize(("status", "well"), [(200, True), (503, False)])
def test_a_quick_run_is_well_when_its_engine_generates(
    health, tmp_path: Path, serve: Serve, status: int, well: bool
) -> None:
    about = {"host": "0.0.0.0", "port": str(serve(status, ""))}
    assert health.look(note(tmp_path, about), tmp_path) == (well, " at /ready")


def test_a_command_that_serves_nothing_is_well(health, tmp_path: Path) -> None:
    assert health.look(note(tmp_path, {}), tmp_path)[0]


@pytest.mark.parametrize(
    ("host", "reached"),
    [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("10.0.0.7", "10.0.0.7"), ("fd00::1", "[fd00::1]")],
)
def test_it_asks_where_the_container_itself_reaches_it(health, host: str, reached: str) -> None:
    assert health.reached(host) == reached
