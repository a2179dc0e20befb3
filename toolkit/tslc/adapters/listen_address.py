"""Whether a server could listen at an address of this machine now."""

from __future__ import annotations

import contextlib
import errno
import socket

from tslc.adapters.loopback_ports import holder


def listen_problem(host: str, port: int) -> str | None:
    """Why nothing can listen there, with the process in the way as far as it can be seen."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError, OverflowError):
        return f"{host!r} is no address of this machine"
    for family, kind, protocol, _, address in found:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
                probe.listen(1)
            except OSError as error:
                return _problem(host, port, error)
    return None


def _problem(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        by = holder(port)
        return f"port {port} is held by {by or 'a process this user may not see'}"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is no address of this machine"
    return f"port {port} can't be used: {error.strerror}"


def reachable_host(host: str) -> str:
    """The host for a URL of this machine: an address that means all of them is loopback."""
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104
    named = everywhere.get(host, host)
    with contextlib.suppress(OSError):
        socket.inet_pton(socket.AF_INET6, named)
        return f"[{named}]"
    return named
