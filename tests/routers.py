"""Routers to test on: a real Envoy, workers of the tiny engine behind it, a crowd of clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from nodes import eventually
from tslc.adapters import envoy_process
from tslc.adapters.envoy_router import EnvoyRouter
from tslc.adapters.loopback_ports import is_free, pick_free
from tslc.domain.router.settings import RouterPaths, RouterSettings
from tslc.domain.router.table import ModelRoute, RouterTable, Segment, Upstream, UpstreamName

SALT = "salt-of-the-tests"
_numbers = count(1)


@dataclass
class Worker:
    """A process that answers as a version's worker does: the tiny engine, /health, /v1/echo."""

    door: Path
    process: subprocess.Popen[bytes]

    def ask(self, path: str) -> Any:
        plain = httpx.HTTPTransport(uds=str(self.door), verify=False)
        with httpx.Client(transport=plain) as client:
            return client.get(f"http://worker{path}").json()

    def generated(self) -> int:
        return int(self.ask("/state")["tokens_in"])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)


@contextmanager
def worker(
    folder: Path, model: str, version: str, door: Path | None = None, *, fast: bool = False
) -> Iterator[Worker]:
    """`fast`: one that answers whatever it is asked with two bytes."""
    door = door or folder / f"{model}@{version}@{next(_numbers)}.sock"
    door.unlink(missing_ok=True)
    command = [sys.executable, __file__, str(door), *(["--fast"] if fast else [])]
    process = subprocess.Popen(command, cwd=Path(__file__).parent / "tiny_engine")
    try:
        assert eventually(lambda: door.exists() or _listens(door.name), 30)
        yield Worker(door, process)
    finally:
        process.kill()
        process.wait(10)


def _listens(port: str) -> bool:
    return port.isdigit() and not is_free(int(port))


@dataclass
class Router:
    """A running Envoy and what publishes to it."""

    envoy: EnvoyRouter
    process: subprocess.Popen[bytes]
    ca: Path | None = None
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        verify: Any = str(self.ca) if self.ca else True
        self.client = httpx.Client(base_url=self.envoy.address, timeout=30, verify=verify)

    def serve(self, table: RouterTable) -> None:
        """Upstreams first, then routes; both are in force when it returns."""
        self.upstreams(table)
        names = {one.name for one in table.upstreams if one.doors or one.bridge}
        assert eventually(lambda: names <= self.envoy.state().active), self.envoy.state()
        self.routes(table)

    def upstreams(self, table: RouterTable) -> None:
        self.envoy.publish_upstreams(table)
        assert eventually(lambda: self.envoy.state().upstreams_taken, 30), self.envoy.state()

    def routes(self, table: RouterTable) -> None:
        # They are held back while Envoy warms a cluster up, and published again.
        assert eventually(lambda: self.envoy.publish_routes(table), 30), self.envoy.state()
        assert eventually(lambda: self.envoy.state().routes_taken, 30), self.envoy.state()
        # Each of Envoy's threads takes them in its own time.
        version = self.envoy.state().routes_version
        assert version

    def ask(self, model: str | None = "m", path: str = "/v1/echo", **more: Any) -> httpx.Response:
        """POST a body that names the model, by a new connection of its own."""
        body = {"model": model} if model is not None else {}
        return self.client.post(path, json={**body, **more.pop("body", {})}, **more)

    def version(self, **more: Any) -> str:
        answer = self.ask(**more)
        assert answer.status_code == 200, answer.text
        return str(answer.headers["x-tslc-version"])

    def log(self) -> list[Any]:
        """The access log's lines so far."""
        return [json.loads(line) for line in self.envoy.paths.access_log.read_text().splitlines()]

    def logged(self, request_id: str) -> Any:
        """The line of that request, as soon as it is written."""
        found: list[Any] = []

        def is_there() -> bool:
            found[:] = [one for one in self.log() if one["request_id"] == request_id]
            return bool(found)

        assert eventually(is_there, 10)
        return found[0]


@contextmanager
def router(
    folder: Path, *, ca: Path | None = None, patience: float = 30, **settings: Any
) -> Iterator[Router]:
    root = folder / f"r{next(_numbers)}"
    settings.setdefault("port", pick_free(1)[0])
    chosen = RouterSettings(hash_salt=SALT, **settings)
    paths = RouterPaths(root)
    envoy_process.prepare(paths, chosen)
    with running(paths, chosen) as process:
        started = Router(EnvoyRouter(paths, chosen), process, ca)
        assert eventually(lambda: started.envoy.state().listening, patience), started.envoy.state()
        yield started
        started.client.close()


@contextmanager
def running(paths: RouterPaths, settings: RouterSettings) -> Iterator[subprocess.Popen[bytes]]:
    """Envoy, on files that are there."""
    envoy = envoy_process.find_envoy(os.environ)
    process = subprocess.Popen(
        envoy_process.command(envoy, paths, settings),
        env=envoy_process.environment(os.environ),
        umask=0o077,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def upstream(model: str, version: str, *workers: Worker) -> Upstream:
    return Upstream(UpstreamName(model, version), tuple(one.door for one in workers))


def route(model: str, shares: Sequence[tuple[str, int]], **more: Any) -> ModelRoute:
    """All versions of the shares are ready, and spare for each other, unless said otherwise."""
    versions = tuple(dict.fromkeys(version for version, _ in shares))
    fields = {"ready": versions, "spare": versions, **more}
    return ModelRoute(model, tuple(Segment(*share) for share in shares), **fields)


# --- crowds --------------------------------------------------------------------------------------


@dataclass
class Load:
    """What a steady load of requests came to, streams and whole answers alike."""

    answers: int = 0
    failures: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    versions: set[str] = field(default_factory=set)


@asynccontextmanager
async def load(
    router: Router, per_second: float, *, tokens: int = 5, delay: float = 0.01
) -> AsyncIterator[Load]:
    """Requests at that rate, every other one streamed, from entry until exit; `broken` are those
    that failed after their answer had begun."""
    seen, tasks, stop = Load(), set[asyncio.Task[None]](), asyncio.Event()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    verify: Any = str(router.ca) if router.ca else True
    address = router.envoy.address
    async with httpx.AsyncClient(base_url=address, timeout=60, limits=limits, verify=verify) as one:

        async def begin() -> None:
            number, start = 0, time.monotonic()
            while not stop.is_set():
                number += 1
                tasks.add(asyncio.create_task(_ask(one, seen, number, tokens, delay)))
                pause = start + number / per_second - time.monotonic()
                await asyncio.sleep(max(0.0, pause))

        beginner = asyncio.create_task(begin())
        try:
            yield seen
        finally:
            stop.set()
            await beginner
            await asyncio.gather(*tasks)


async def _ask(
    client: httpx.AsyncClient, seen: Load, number: int, tokens: int, delay: float
) -> None:
    stream = bool(number % 2)
    body = {"model": "m", "prompt": f"w{number}", "max_tokens": tokens, "stream": stream}
    body["tiny"] = {"delay": delay}
    begun = False
    try:
        async with client.stream("POST", "/v1/completions", json=body) as answer:
            begun = answer.status_code == 200
            text = (await answer.aread()).decode()
        good = text.count(f"w{number} ") == tokens and (not stream or "[DONE]" in text)
        if not (begun and good):
            raise ValueError(f"{answer.status_code} {text[:200]}")
        seen.answers += 1
        seen.versions.add(answer.headers["x-tslc-version"])
    except (httpx.HTTPError, ValueError) as error:
        (seen.broken if begun else seen.failures).append(f"{number}: {error!r}")


async def versions_of(
    router: Router, requests: Sequence[dict[str, str]], connections: int = 16
) -> list[str]:
    """The version that answers each request, told apart by their headers; thousands a second."""
    body = b'{"model":"m"}'
    found = [""] * len(requests)
    todo = iter(range(len(requests)))

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", router.envoy.settings.port)
        for at in todo:
            lines = "".join(f"{key}: {value}\r\n" for key, value in requests[at].items())
            head = (
                f"POST /v1/fast HTTP/1.1\r\nhost: r\r\n{lines}content-length: {len(body)}\r\n\r\n"
            )
            writer.write(head.encode() + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            fields = dict(line.split(": ", 1) for line in answer.splitlines()[1:] if line)
            await reader.readexactly(int(fields["content-length"]))
            found[at] = fields.get("x-tslc-version", answer)
        writer.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(ask())
    return found


async def _serve_fast(door: str) -> None:
    """Be a worker that answers everything with two bytes, and costs next to nothing."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                found = [x for x in head.lower().split(b"\r\n") if x.startswith(b"content-length:")]
                if found:
                    await reader.readexactly(int(found[0].split(b":")[1]))
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        writer.close()

    server = await asyncio.start_unix_server(answer, door)
    await server.serve_forever()


def _serve(door: str) -> None:
    """Be a worker."""
    import uvicorn
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route
    from tiny_app import TinyApp

    async def echo(request: Request) -> JSONResponse:
        about = {"path": request.url.path, "query": request.url.query, "method": request.method}
        return JSONResponse({**about, "headers": dict(request.headers), "door": door})

    async def own(request: Request) -> JSONResponse:
        return JSONResponse({"inner": request.url.path})

    app = TinyApp().app
    methods = ["GET", "POST"]
    for path in ("/v1/echo", "/predictions/{rest:path}"):
        app.router.routes.append(Route(path, echo, methods=methods))
    for path in ("/health", "/metrics", "/ready"):
        app.router.routes.append(Route(path, own, methods=methods))
    where: dict[str, Any] = (
        {"host": "127.0.0.1", "port": int(door)} if door.isdigit() else {"uds": door}
    )
    uvicorn.run(app, log_level="warning", access_log=False, timeout_keep_alive=3700, **where)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent / "tiny_engine"))
    if sys.argv[2:] == ["--fast"]:
        asyncio.run(_serve_fast(sys.argv[1]))
    else:
        _serve(sys.argv[1])
