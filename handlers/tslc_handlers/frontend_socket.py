"""The worker's end of the socket to TorchServe's frontend, and the mending of its worker loop.

TorchServe's asynchronous worker loop writes to one socket from two threads without a lock, blocks
its event loop while it writes, reads the socket four bytes at a time, copies the whole context for
every request and prints a line about it. `mend` puts that right in this process, from the outside:
it replaces nothing of what the loop does, only what it does it with.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import select
import socket
import threading
from typing import Any

from tslc_handlers.lifetime import end_process

logger = logging.getLogger(__name__)

_READ_BYTES = 1 << 18


class FrontendSocket:
    """Reads in large pieces; writes whole messages, on the event loop's thread only.

    `sendall` never blocks: what the kernel does not take at once is written when it can. Messages
    keep their order and are never mixed, whichever thread gave them.
    """

    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self._sock = sock
        self._loop = loop
        self._loop_thread = threading.get_ident()
        self._received = memoryview(b"")
        self._pending = bytearray()

    def recv(self, size: int) -> bytes:
        if not self._received:
            data = self._read()
            if not data:
                logger.warning("TorchServe closed the connection; the worker ends")
                end_process(0)
            self._received = memoryview(data)
        piece, self._received = self._received[:size], self._received[size:]
        return bytes(piece)

    def _read(self) -> bytes:
        while True:
            try:
                return self._sock.recv(_READ_BYTES)
            except BlockingIOError:  # libuv makes a descriptor it watches non-blocking
                select.select([self._sock], [], [])

    def sendall(self, data: bytes | bytearray) -> None:
        if threading.get_ident() == self._loop_thread:
            self._write(data)
        else:
            self._loop.call_soon_threadsafe(self._write, data)

    def _write(self, data: bytes | bytearray) -> None:
        if self._pending:
            self._pending += data
            return
        sent = self._send(data)
        if sent < len(data):
            self._pending += memoryview(data)[sent:]
            self._loop.add_writer(self._sock.fileno(), self._flush)

    def _flush(self) -> None:
        del self._pending[: self._send(self._pending)]
        if not self._pending:
            self._loop.remove_writer(self._sock.fileno())

    def _send(self, data: bytes | bytearray) -> int:
        try:
            return self._sock.send(data, socket.MSG_DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            logger.warning("TorchServe no longer reads; the worker ends")
            end_process(0)
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


def mend(context: Any, loop: asyncio.AbstractEventLoop) -> None:
    """Mend TorchServe's worker loop. Called once, before it starts, on the loop's thread."""
    import ts.async_service
    import ts.service

    def set_cl_socket(service: Any, sock: socket.socket) -> None:
        service.cl_socket = FrontendSocket(sock, loop)

    run = ts.async_service.AsyncService.run

    def run_and_end(service: Any) -> None:
        # Its threads are not daemons: without this, a worker whose loop broke would neither
        # answer nor end, and TorchServe would wait for it for ever.
        logger.error("TorchServe's worker loop ended: %s", run(service))
        end_process(1)

    ts.service.Service.set_cl_socket = set_cl_socket
    ts.async_service.AsyncService.run = run_and_end
    # A line on stdout for every request is a write, a parse and a log event in the frontend.
    ts.async_service.print = lambda *_: None
    give_own_contexts(context)
    logging.getLogger().setLevel(logging.WARNING)
    for name in ("ts.metrics", "tslc_handlers"):
        logging.getLogger(name).setLevel(logging.INFO)


def give_own_contexts(context: Any) -> None:
    """Make `copy.deepcopy(context)` give a request what is its own, and share the rest."""

    def own(_memo: Any) -> Any:
        copied = copy.copy(context)
        copied.metrics = copy.copy(context.metrics)
        return copied

    context.__deepcopy__ = own
