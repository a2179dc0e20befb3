"""supervisord's control interface: XML-RPC over its Unix socket."""

from __future__ import annotations

import http.client
import socket
import xmlrpc.client
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from tslc.errors import RemoteFailed

_SECONDS = 10.0


class SupervisorRpc:
    """Every call raises RemoteFailed when supervisord does not do what it was asked for."""

    def __init__(self, control: Path) -> None:
        self._control = control

    def states(self) -> dict[str, str]:
        """By the program's name supervisord's word for its state, such as RUNNING or BACKOFF."""
        told = cast(list[Mapping[str, object]], self._call("supervisor.getAllProcessInfo"))
        return {str(one["name"]): str(one["statename"]) for one in told}

    def start(self, name: str) -> None:
        """Start it, and don't wait for it."""
        self._call("supervisor.startProcess", name, False)

    def stop(self, name: str) -> None:
        """Ask it to stop, and don't wait for it."""
        self._call("supervisor.stopProcess", name, False)

    def add(self, name: str) -> None:
        """A program that was added to supervisord.conf; it is started."""
        self._call("supervisor.reloadConfig")
        self._call("supervisor.addProcessGroup", name)

    def remove(self, name: str) -> None:
        """A program that is stopped."""
        self._call("supervisor.removeProcessGroup", name)

    def _call(self, method: str, *arguments: object) -> object:
        try:
            with xmlrpc.client.ServerProxy(
                "http://supervisor/RPC2", transport=_UnixTransport(self._control)
            ) as server:
                return getattr(server, method)(*arguments)
        except xmlrpc.client.Fault as error:
            raise RemoteFailed(f"supervisord refuses {method}: {error.faultString}") from None
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            raise RemoteFailed(f"supervisord does not answer at {self._control}: {error}") from None


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, control: Path) -> None:
        super().__init__()
        self._control = control

    def make_connection(self, host: object) -> http.client.HTTPConnection:
        self._extra_headers = []
        return _UnixConnection(self._control)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, control: Path) -> None:
        super().__init__("supervisor", timeout=_SECONDS)
        self._control = control

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_SECONDS)
        self.sock.connect(str(self._control))
