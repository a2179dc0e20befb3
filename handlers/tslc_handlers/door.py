"""The direct door: the worker's own HTTP listener, on a Unix socket in the run folder.

The socket is $TSLC_RUN_DIR/<model>@<version>@<pid>.sock, so that a router can tell whose it is. It
appears when the engine has loaded. Besides the version's endpoints it answers

- /health: the process and its engine are alive; how many requests it is answering,
- /ready: the engine really generates,
- /metrics: vLLM's metrics and the worker's own, for Prometheus.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import time
from collections.abc import Generator, Mapping
from pathlib import Path

import uvicorn

from tslc_handlers import exchange
from tslc_handlers.asgi import ASGIApp, Receive, Scope, Send, call, send_json
from tslc_handlers.engine import Engine
from tslc_handlers.messages import encode

# Longest path of a Unix socket, in bytes (struct sockaddr_un, less the closing zero).
_LONGEST_PATH = 107
# A router keeps idle connections for an hour at most; it should be the one to close them, since a
# request sent into a connection that is just being closed from here is a lost one.
_KEEP_ALIVE_SECONDS = 3700
_READY_FOR_SECONDS = 1.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


def socket_path(run_dir: Path, model: str, version: str, pid: int) -> Path:
    """Raises ValueError for a name that can't be told apart or a path the kernel won't take."""
    for part in (model, version):
        if not _NAME.fullmatch(part):
            raise ValueError(f"{part!r} can't name a socket: use letters, digits, '_', '.', '-'")
    path = run_dir / f"{model}@{version}@{pid}.sock"
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise ValueError(
            f"the socket's path is longer than {_LONGEST_PATH} bytes: {path}; "
            "set TSLC_HOME to a shorter folder"
        )
    return path


class Readiness:
    """Whether the engine really generates, asked at most once a second.

    Tokens generated since the last question are proof enough; otherwise one is generated. Fails
    closed: an error or no token within `timeout` seconds means not ready.
    """

    def __init__(self, engine: Engine, timeout: float) -> None:
        self._engine = engine
        self._timeout = timeout
        self._lock = asyncio.Lock()
        self._tokens = 0
        self._asked = float("-inf")
        self._answer = (False, "not asked yet")

    async def check(self) -> tuple[bool, str]:
        async with self._lock:
            if time.monotonic() - self._asked >= _READY_FOR_SECONDS:
                self._answer = await self._ask()
                self._asked = time.monotonic()
            return self._answer

    async def _ask(self) -> tuple[bool, str]:
        if self._engine.is_dead():
            return False, "the engine is dead"
        seen, self._tokens = self._tokens, self._engine.tokens()[1]
        if self._tokens > seen:
            return True, "the engine generates"
        path, body = self._engine.probe
        try:
            async with asyncio.timeout(self._timeout):
                status, answer = await call(self._engine.app, "POST", path, encode(body))
        except TimeoutError:
            return False, f"the engine generated nothing within {self._timeout:g} s"
        except Exception as error:  # noqa: BLE001 - whatever the engine raises, it is not ready
            return False, f"the engine failed: {error}"
        if status != 200:
            return False, f"the engine answered {status}: {answer[:200].decode(errors='replace')}"
        self._tokens = self._engine.tokens()[1]
        return True, "the engine generates"


class Door:
    """The application behind the socket: the handler's, and the three pages about itself."""

    def __init__(
        self, handler: ASGIApp, engine: Engine, about: Mapping[str, object], ready_timeout: float
    ) -> None:
        self._handler = handler
        self._engine = engine
        self._about = dict(about)
        self._readiness = Readiness(engine, ready_timeout)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD"):
            match scope["path"]:
                case "/health":
                    alive = not self._engine.is_dead()
                    return await self._tell(send, alive, "alive" if alive else "engine dead")
                case "/ready":
                    return await self._tell(send, *await self._readiness.check())
                case "/metrics":
                    return await _send_metrics(send)
        if scope["type"] == "lifespan":
            return await self._engine.app(scope, receive, send)
        return await self._handler(scope, receive, send)

    async def _tell(self, send: Send, good: bool, reason: str) -> None:
        about = {**self._about, "in_flight": exchange.in_flight}
        body = {"ok": good, "reason": reason, **about}
        await send_json(send, 200 if good else 503, body)


async def _send_metrics(send: Send) -> None:
    from prometheus_client import REGISTRY
    from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

    data = generate_latest(REGISTRY)
    headers = [(b"content-type", CONTENT_TYPE_LATEST.encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": data, "more_body": False})


class Server(uvicorn.Server):
    """uvicorn, leaving signals to the process it is a guest of."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def server(app: ASGIApp, *, signals: bool = False, **where: object) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        access_log=False,
        log_config=None,
        log_level="warning",
        lifespan="on",
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        **where,  # type: ignore[arg-type]
    )
    return uvicorn.Server(config) if signals else Server(config)


def own_folder(folder: Path) -> None:
    """Make the folder of sockets, or make sure of it: whoever can write there can be the model.

    Raises ValueError when it belongs to somebody else or others have access.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    state = folder.stat()
    if state.st_uid != os.getuid() or state.st_mode & 0o077:
        raise ValueError(f"{folder} is open to others: chown it to this user, and chmod 700")


def listen(path: Path) -> socket.socket:
    """A listening Unix socket, only for this user, put in place of a dead one of that name."""
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(str(part))
    part.chmod(0o600)
    sock.listen(2048)
    part.rename(path)
    return sock


async def open_door(app: ASGIApp, path: Path) -> asyncio.Task[None]:
    """Serve `app` on the socket at `path`, as a task of this loop, from when this returns."""
    sock = listen(path)
    guest = server(app)
    task = asyncio.create_task(guest.serve(sockets=[sock]))
    while not guest.started:
        if task.done():
            await task
            raise RuntimeError("the direct door did not open")
        await asyncio.sleep(0.01)
    return task
