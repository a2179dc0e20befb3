"""Clients of the workers' direct doors: HTTP over a Unix socket per worker."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from tslc.adapters.http_errors import translated
from tslc.domain.chat import error_text
from tslc.domain.door import DoorName
from tslc.domain.served import DoorReport
from tslc.errors import NotRunning, RemoteFailed

if TYPE_CHECKING:
    import httpx

_PROBE_SECONDS = 15.0


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes
    seconds: float


@dataclass(frozen=True)
class DoorHealth:
    """`in_flight`: requests the worker is answering, None when it does not say. `dead`: it said
    itself that its engine is dead; one that said nothing may be busy."""

    alive: bool
    in_flight: int | None
    reason: str = ""
    dead: bool = False


@dataclass(frozen=True)
class Door:
    """One worker's door. Every call raises NotRunning or RemoteFailed."""

    name: DoorName
    socket: Path

    def ready(self, seconds: float = _PROBE_SECONDS) -> DoorReport:
        """Whether the worker's engine really generates. An unreachable door is not ready."""
        try:
            reply = self.request("/ready", seconds=seconds)
        except RemoteFailed as error:
            return DoorReport(self.name.pid, False, error.message)
        if reply.status == HTTPStatus.OK:
            return DoorReport(self.name.pid, True)
        return DoorReport(self.name.pid, False, _reason(reply))

    def alive(self, seconds: float = 5.0) -> DoorHealth:
        """What the worker says of itself, without generating anything."""
        try:
            reply = self.request("/health", seconds=seconds)
        except RemoteFailed as error:
            return DoorHealth(False, None, error.message)
        in_flight = None
        with contextlib.suppress(ValueError):
            told = json.loads(reply.body)
            if isinstance(told, dict) and isinstance(told.get("in_flight"), int):
                in_flight = int(told["in_flight"])
        alive = reply.status == HTTPStatus.OK
        return DoorHealth(alive, in_flight, "" if alive else _reason(reply), dead=not alive)

    def served_names(self) -> tuple[str, ...]:
        """What a request may call the model here. Raises RemoteFailed."""
        reply = self.request("/v1/models", seconds=10.0)
        try:
            found = json.loads(reply.body)["data"]
            return tuple(str(one["id"]) for one in found)
        except (ValueError, LookupError, TypeError):
            return ()

    def metrics(self, seconds: float) -> str:
        """The worker's metrics, in Prometheus' text format."""
        reply = self.request("/metrics", seconds=seconds)
        if reply.status != HTTPStatus.OK:
            name = f"{self.name.model} {self.name.version} (pid {self.name.pid})"
            raise RemoteFailed(f"the worker of {name} has no metrics: {_reason(reply)}")
        return reply.body.decode("utf-8", errors="replace")

    def request(self, path: str, body: object = None, seconds: float = 120.0) -> Reply:
        """A whole answer; GET without a body, POST with one."""
        started = time.monotonic()
        with self._errors(), self._client(seconds) as client:
            method = "GET" if body is None else "POST"
            answer = client.request(method, path, json=body)
            return Reply(answer.status_code, answer.content, time.monotonic() - started)

    @contextlib.contextmanager
    def stream(
        self, path: str, body: object, seconds: float = 120.0
    ) -> Iterator[tuple[int, Iterator[str]]]:
        """A streamed answer: status and lines. An error's body is one line.

        Leaving early ends the generation: the worker sees its client go.
        """
        with (
            self._errors(),
            self._client(seconds) as client,
            client.stream("POST", path, json=body) as answer,
        ):
            if answer.is_error:
                answer.read()
            yield answer.status_code, self._lines(answer)

    def _lines(self, answer: httpx.Response) -> Iterator[str]:
        if answer.is_error:
            yield answer.text
            return
        with self._errors():
            yield from answer.iter_lines()

    def _client(self, seconds: float) -> httpx.Client:
        import httpx

        # No TLS on a socket; loading the machine's certificates would take longer than the request.
        transport = httpx.HTTPTransport(uds=str(self.socket), verify=False)
        return httpx.Client(transport=transport, base_url="http://door", timeout=seconds)

    def _errors(self) -> contextlib.AbstractContextManager[None]:
        name = self.name
        return translated(f"the worker of {name.model} {name.version} (pid {name.pid})")


def doors(run_dir: Path) -> tuple[Door, ...]:
    """The doors somebody listens at. A dead worker's socket is passed over, never deleted."""
    return tuple(door for door in sockets(run_dir) if _listens(door.socket))


def sockets(run_dir: Path) -> tuple[Door, ...]:
    """The doors there are, whether or not somebody listens."""
    named = [(DoorName.parse(path.name), path) for path in sorted(run_dir.glob("*.sock"))]
    return tuple(Door(name, path) for name, path in named if name is not None)


def doors_of(run_dir: Path, model: str, version: str) -> tuple[Door, ...]:
    return tuple(
        door for door in doors(run_dir) if (door.name.model, door.name.version) == (model, version)
    )


def probe(found: Sequence[Door], seconds: float = _PROBE_SECONDS) -> dict[DoorName, DoorReport]:
    """What each door says of its readiness, asked all at once."""
    if not found:
        return {}
    with ThreadPoolExecutor(min(32, len(found))) as pool:
        reports = pool.map(lambda door: door.ready(seconds), found)
        return {door.name: report for door, report in zip(found, reports, strict=True)}


def first_door(run_dir: Path, model: str, version: str) -> Door:
    """A door of the version; raises NotRunning when no worker of it listens."""
    for door in doors_of(run_dir, model, version):
        return door
    raise NotRunning(f"no worker of {model} {version} listens", hint="tslc status")


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2.0)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _reason(reply: Reply) -> str:
    text = reply.body.decode("utf-8", errors="replace")
    with contextlib.suppress(ValueError):
        document = json.loads(text)
        if isinstance(document, dict) and isinstance(document.get("reason"), str):
            return str(document["reason"])
    return f"{reply.status}: {error_text(text)}"
