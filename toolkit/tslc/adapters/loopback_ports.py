"""TCP ports of this machine: are they free, who holds them, which others are free."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Iterable

import psutil

HOST = "127.0.0.1"
# Below the ports the kernel gives to outgoing connections (32768 and up on Linux, unless changed).
_STEADY = range(20_000, 32_000)


def is_free(port: int) -> bool:
    """Whether a server could listen on it now (a port that merely lingers after one is free)."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def holder(port: int) -> str | None:
    """The process that listens there, as far as this user may know: `java (pid 7)`."""
    with contextlib.suppress(psutil.Error, OSError):
        if pid := holder_pid(port):
            return f"{psutil.Process(pid).name()} (pid {pid})"
    return None


def holder_pid(port: int) -> int | None:
    """The process that listens there, as far as this user may know."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections(kind="tcp"):
            listens = connection.status == psutil.CONN_LISTEN
            if listens and connection.pid and tuple(connection.laddr)[1:] == (port,):
                return int(connection.pid)
    return None


def pick_free(count: int, apart: Iterable[int] = ()) -> tuple[int, ...]:
    """Ports that are free now, all different, and likely to be free again when their server comes
    back: the kernel's own choice may be one that an outgoing connection of anyone takes meanwhile.

    None of `apart`: what a server that is not up yet is to have.
    """
    taken = frozenset(apart)
    shuffled = random.sample(_STEADY, len(_STEADY))
    free = (port for port in shuffled if port not in taken and is_free(port))
    return tuple(port for port, _ in zip(free, range(count), strict=False))
