"""A client that threads share closes no connection: another thread may just have been given it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from tslc.adapters.shared_client import shared_client

CROWD = 24  # httpx keeps 20


@contextmanager
def counting() -> Iterator[tuple[str, list[object]]]:
    """A server that answers CROWD requests when all of them are there, and who connected to it."""
    connections: list[object] = []
    together = threading.Barrier(CROWD)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            connections.append(self.client_address)
            super().setup()

        def do_GET(self) -> None:
            together.wait(30)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = CROWD

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", connections
        server.shutdown()


@pytest.mark.parametrize(("make", "kept"), [(shared_client, True), (httpx.Client, False)])
def test_each_crowd_finds_the_connections_of_the_one_before(
    make: Callable[..., httpx.Client], kept: bool
) -> None:
    with counting() as (url, connections), make(verify=False, timeout=30) as client:
        with ThreadPoolExecutor(CROWD) as pool:
            for _ in range(3):
                answers = pool.map(lambda _: client.get(url).status_code, range(CROWD))
                assert set(answers) == {200}
        assert (len(connections) == CROWD) is kept
