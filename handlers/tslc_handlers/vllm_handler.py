"""`VLLMHandler`: vLLM's OpenAI server behind TorchServe, with hooks for subclasses.

A handler is an ASGI application: vLLM's own, an allow-list of endpoints, and three hooks around it.
TorchServe's requests (the bridge) and those of the worker's own socket (the direct door) go through
the same application and the same hooks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tslc_handlers import bridge
from tslc_handlers.asgi import (
    BodyTooLargeError,
    Message,
    Receive,
    Scope,
    Send,
    head_with_body,
    headers_of,
    read_body,
    replay,
    send_error,
)
from tslc_handlers.config import ConfigError, HandlerConfig, find_model, worker_environment
from tslc_handlers.door import Door, open_door, own_folder, socket_path
from tslc_handlers.endpoints import KNOWN
from tslc_handlers.engine import Engine, open_engine
from tslc_handlers.exchange import Exchange, request_id_of
from tslc_handlers.hooks import run_hooked
from tslc_handlers.lifetime import Reaper, end_process, watch
from tslc_handlers.messages import JSON, Request, RequestContext, Response

if TYPE_CHECKING:
    BaseHandler = object
else:
    try:
        from ts.torch_handler.base_handler import BaseHandler
    except ImportError:  # other hosts do without TorchServe

        class BaseHandler:
            """Stands in for TorchServe's where TorchServe is not installed."""


logger = logging.getLogger(__name__)

_TOKENS_EVERY_SECONDS = 5.0
# A worker whose load failed ends by itself after this, should a thread of the engine's hold it.
_FAILED_LOAD_SECONDS = 5.0


class VLLMHandler(BaseHandler):
    """Serves one version of one model. Subclasses override the three hooks, each optional."""

    def __init__(self) -> None:
        super().__init__()
        self.initialized = False
        self.config = HandlerConfig()
        self.model = ""
        self.version = ""
        self._tasks: list[asyncio.Task[Any]] = []
        self._closing = contextlib.AsyncExitStack()
        self.overridden = frozenset(
            hook
            for hook in ("preprocess", "postprocess", "postprocess_stream")
            if getattr(type(self), hook) is not getattr(VLLMHandler, hook)
        )

    # --- the hooks ---------------------------------------------------------------------------

    async def preprocess(self, request: Request, context: RequestContext) -> Request | Response:
        """Before the model: return the request, changed or not, or a Response to answer at once."""
        return request

    async def postprocess(self, response: Response, context: RequestContext) -> Response:
        """After the model, for a whole answer (errors of the engine are not shown to hooks)."""
        return response

    async def postprocess_stream(
        self, events: AsyncIterator[JSON], context: RequestContext
    ) -> AsyncIterator[JSON]:
        """After the model, for a stream: yields the chunks the client gets.

        Ending early ends the client's stream and stops the generation.
        """
        async for event in events:
            yield event

    # --- the ASGI application ----------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.engine.app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})
        path: str = scope["path"]
        methods = KNOWN[path] if path in self._served else None
        if methods is None:
            served = ", ".join(self.config.endpoints)
            return await send_error(send, 404, f"{path} is not served here; served are {served}")
        if scope["method"] not in methods:
            allow = ", ".join(sorted(methods))
            return await send_error(send, 405, f"{path} answers {allow}", allow=allow)
        return await self._exchange(scope, receive, send)

    async def _exchange(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope.get("tslc.door", "direct"), scope["path"])
        receive, send = exchange.receiver(receive), head_with_body(exchange.sender(send))
        exchange.begin()
        try:
            await self._answer(scope, receive, send, exchange)
        except BodyTooLargeError as error:
            await send_error(send, 413, str(error))
        except Exception:
            if exchange.status is not None and not exchange.complete:
                raise  # the head is out: all that is left is to break the connection
            logger.exception("%s failed", scope["path"])
            # vLLM's application words its 500 and then raises: nothing is to be broken or added.
            if not exchange.complete:
                await send_error(send, 500, "internal error")
        finally:
            exchange.end()

    async def _answer(self, scope: Scope, receive: Receive, send: Send, exchange: Exchange) -> None:
        limit = self.config.max_body_bytes
        length = headers_of(scope).get("content-length")
        if length is not None and (not length.isdigit() or int(length) > limit):
            raise BodyTooLargeError(limit)
        if self.overridden and scope["method"] == "POST":
            context = RequestContext(self.model, self.version, request_id_of(scope), exchange.door)
            await run_hooked(self, self.engine.app, context, scope, receive, send, limit)
        else:
            if length is None and scope["method"] == "POST":  # in chunks, of any size
                body = await read_body(receive, limit)
                if body is None:
                    return
                receive = replay(body, receive)
            await self.engine.app(scope, receive, send)

    # --- TorchServe --------------------------------------------------------------------------

    def initialize(self, context: Any) -> None:
        """TorchServe's: load the model, open the direct door. Raises what stands in the way."""
        try:
            _require_async(context)
            loop = _new_event_loop()
            loop.run_until_complete(self.start(context, end_with_parent=True))
            loop.run_until_complete(self._open_door())
        except BaseException:
            timer = threading.Timer(_FAILED_LOAD_SECONDS, end_process, [1])
            timer.daemon = True
            timer.start()
            raise
        from tslc_handlers import frontend_socket

        frontend_socket.mend(context, loop)
        self._tasks.append(loop.create_task(self._report_tokens(context.metrics)))
        self.initialized = True

    async def handle(self, data: list[Mapping[str, Any]], context: Any) -> list[bytes]:
        """TorchServe's: one request through the bridge. Never raises."""
        started = time.perf_counter()
        answered = await bridge.answer(self._bridged, data, context, _never)
        metrics = context.metrics
        metrics.add_time("HandlerTime", round((time.perf_counter() - started) * 1000, 2))
        if answered.first_byte is not None:
            first = round((answered.first_byte - started) * 1000, 2)
            metrics.add_time("TimeToFirstToken", first)
        return answered.final

    async def _bridged(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["tslc.door"] = "bridge"
        await self(scope, receive, send)

    async def _report_tokens(self, metrics: Any) -> None:
        """Tokens in and out, as vLLM counts them, to TorchServe's metrics: both doors' together."""
        seen = (0, 0)
        while True:
            await asyncio.sleep(_TOKENS_EVERY_SECONDS)
            now = self.engine.tokens()
            for name, before, after in zip(("TokensIn", "TokensOut"), seen, now, strict=True):
                if after > before:
                    metrics.add_counter(name, after - before)
            seen = now

    # --- any host ----------------------------------------------------------------------------

    async def start(self, context: Any, *, end_with_parent: bool) -> None:
        """Load the engine. `context` names the model, its archive folder and its config.

        `end_with_parent`: whether this process and its engine end when its parent does.
        """
        archive = Path(context.system_properties["model_dir"])
        self.model = context.model_name
        self.version = _version(context.manifest)
        self.config = HandlerConfig.parse((context.model_yaml_config or {}).get("handler") or {})
        self._served = frozenset(self.config.endpoints)
        logging.getLogger("tslc_handlers").setLevel(self.config.log_level.upper())
        self._door_path = _door_path(self.model, self.version)
        self._reaper = Reaper(self._door_path, end_with_parent=end_with_parent)
        self.engine: Engine = await self._closing.enter_async_context(self.open_engine(archive))
        self._tasks.append(asyncio.create_task(watch(self.engine.is_dead, self._reaper)))
        about = {"model": self.model, "version": self.version, "pid": os.getpid()}
        self.door = Door(self, self.engine, about, self.config.ready_timeout_seconds)

    @contextlib.asynccontextmanager
    async def open_engine(self, archive: Path) -> AsyncIterator[Engine]:
        """The engine behind the application: vLLM's. A test overrides it."""
        model = self.prepare_environment(archive)
        # Its own name always means it: that is what a router knows it by.
        served = tuple(dict.fromkeys((*self.config.served_names(), self.model)))
        async with open_engine(self.config, model, archive, served) as engine:
            yield engine

    def prepare_environment(self, archive: Path) -> str:
        """Set what vLLM reads from the environment, before it is imported; the model's folder."""
        model = find_model(archive, self.config, os.environ)
        os.environ.update(worker_environment(self.config, model))
        return model

    async def _open_door(self) -> None:
        self._tasks.append(await open_door(self.door, self._door_path))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self._closing.aclose()


def _new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's, as vLLM's own server uses; TorchServe's worker loop then runs on it."""
    import uvloop

    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop


async def _never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


def _require_async(context: Any) -> None:
    """Raises ConfigError: in TorchServe's synchronous mode the event loop would never run."""
    if not (context.model_yaml_config or {}).get("asyncCommunication"):
        raise ConfigError(["asyncCommunication must be true: write `asyncCommunication: true`"])


def _version(manifest: Mapping[str, Any] | None) -> str:
    return str((manifest or {}).get("model", {}).get("modelVersion") or "1.0")


def _door_path(model: str, version: str) -> Path:
    run_dir = os.environ.get("TSLC_RUN_DIR")
    if not run_dir:
        import tempfile

        run_dir = str(Path(tempfile.gettempdir()) / f"tslc-{os.getuid()}")
    own_folder(Path(run_dir))
    return socket_path(Path(run_dir), model, version, os.getpid())
