"""Addresses a server could listen at."""

import os
import socket

import pytest

from tslc.adapters.listen_address import listen_problem, reachable_host


def test_a_held_port_names_its_holder() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        for host in ("127.0.0.1", "0.0.0.0"):
            problem = listen_problem(host, port) or ""
            assert f"port {port} is held by" in problem
            assert f"(pid {os.getpid()})" in problem
    assert listen_problem("127.0.0.1", port) is None


def test_an_address_of_another_machine_is_refused() -> None:
    assert "no address of this machine" in (listen_problem("192.0.2.1", 8000) or "")


@pytest.mark.parametrize(
    ("host", "expected"),
    [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("box.local", "box.local")],
)
def test_a_url_names_a_host_that_can_be_reached(host: str, expected: str) -> None:
    assert reachable_host(host) == expected
