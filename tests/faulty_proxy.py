"""A proxy between a client of S3 and a real S3 server that fails the way networks and servers do.

It knows requests, no more: what it changes is what a test's plan says, the rest passes unchanged,
the Host header that signatures cover too. It counts the bytes of blobs that pass, and can do
something (kill the client) when just so many have, while nothing else moves.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from urllib.parse import urlsplit

_PIECE = 64 * 1024
_HEAD = 256 * 1024


class Where(Enum):
    """How far an exchange comes before it fails."""

    BEFORE = "nothing is passed on"
    REQUEST = "so many bytes of the request's body are passed on"
    LOST = "the server has done it, and nothing of its answer is passed on"
    ANSWER = "so many bytes of the answer's body are passed on"


@dataclass(frozen=True)
class Answer:
    """An S3 error in the server's place; `extra` are more elements of its XML."""

    status: int
    code: str
    headers: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, str] = field(default_factory=dict)
    message: str = "said by the proxy"


@dataclass(frozen=True)
class Reset:
    """The connection is reset."""

    where: Where = Where.BEFORE
    after: int = 0


@dataclass(frozen=True)
class Stall:
    """Nothing comes any more, and the connection stays."""

    where: Where = Where.BEFORE
    after: int = 0


@dataclass(frozen=True)
class Slow:
    """Bodies pass at so many bytes a second on each connection."""

    rate: int


Fault = Answer | Reset | Stall | Slow


@dataclass(frozen=True)
class Request:
    """`span`: the Range header."""

    method: str
    path: str
    query: str
    span: str = ""

    @property
    def of_blob(self) -> bool:
        """Whether it carries content of a blob, there or back. One that is read whole, without a
        range, is looked into and not fetched."""
        moves = self.method == "PUT" or (self.method == "GET" and self.span)
        return bool(moves) and "/blobs/sha256/" in self.path


Plan = Callable[[Request], Fault | None]
Match = Callable[[Request], bool]


def first(count: int, fault: Fault, match: Match = lambda request: True) -> Plan:
    """The first so many requests that match fail."""
    left = count

    def plan(request: Request) -> Fault | None:
        nonlocal left
        if not left or not match(request):
            return None
        left -= 1
        return fault

    return plan


def one_each(faults: Sequence[Fault], match: Match = lambda request: True) -> Plan:
    """Each fault meets another request, once."""
    left = list(faults)
    met: set[Request] = set()

    def plan(request: Request) -> Fault | None:
        if not left or request in met or not match(request):
            return None
        met.add(request)
        return left.pop(0)

    return plan


def each(times: int, fault: Fault, match: Match = lambda request: True) -> Plan:
    """Every request that matches fails so many times."""
    met: Counter[Request] = Counter()

    def plan(request: Request) -> Fault | None:
        if not match(request) or met[request] == times:
            return None
        met[request] += 1
        return fault

    return plan


def always(fault: Fault, match: Match = lambda request: True) -> Plan:
    return lambda request: fault if match(request) else None


@dataclass(frozen=True)
class Moment:
    """`do` is called once, in the proxy's thread, and until it returns nothing moves: when `at`
    bytes of blobs have passed, or at a request that matches: before it, which then is not passed
    on, or when it is `answered`, and the answer is not passed on."""

    do: Callable[[], None]
    at: int | None = None
    match: Match = lambda request: False
    answered: bool = False


class _Broken(Exception):
    """The exchange was ended on purpose."""


@dataclass(frozen=True)
class _Head:
    raw: bytes
    words: tuple[str, ...]
    fields: Mapping[str, str]

    @property
    def status(self) -> int:
        return int(self.words[1])


@dataclass(frozen=True)
class _Side:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, content: bytes) -> None:
        """Returns when the kernel has it."""
        self.writer.write(content)
        await self.writer.drain()

    async def arrived(self) -> None:
        """Wait until the other end's kernel has all that was sent: a reset throws away the rest."""
        kernels = self.writer.get_extra_info("socket")
        while struct.unpack("i", fcntl.ioctl(kernels.fileno(), termios.TIOCOUTQ, bytes(4)))[0]:
            await asyncio.sleep(0.005)

    def reset(self) -> None:
        linger = struct.pack("ii", 1, 0)
        with suppress(OSError):
            kernels = self.writer.get_extra_info("socket")
            kernels.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()


class FaultyProxy:
    """Listens while entered. `plan` is asked at each request; a test may replace it any time.

    `passed`: bytes of blobs, in either direction. `requests`: all that came. `failed`: those that
    the plan let fail.
    """

    def __init__(self, target: str, plan: Plan = lambda request: None) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname, parts.port)
        self.plan = plan
        self.moment: Moment | None = None
        self.passed = 0
        self.requests: list[Request] = []
        self.failed: list[tuple[Request, Fault]] = []
        self.url = ""

    def __enter__(self) -> FaultyProxy:
        ready = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._run(ready),), daemon=True)
        self._thread.start()
        assert ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)

    async def _run(self, ready: threading.Event) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        self._still = asyncio.Event()
        self._still.set()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_HEAD)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ready.set()
        await self._end.wait()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = _side(reader, writer)
        server: _Side | None = None
        try:
            while head := await _head(client.reader):
                request = _request(head)
                self.requests.append(request)
                await self.reached(request, answered=False)
                fault = self.plan(request)
                if fault is not None:
                    self.failed.append((request, fault))
                if isinstance(fault, Answer):
                    await _refuse(client, head, fault)
                    return
                exchange = _Exchange(self, client, request, fault)
                await exchange.cut(Where.BEFORE)
                server = server or _side(*await asyncio.open_connection(*self._target, limit=_HEAD))
                if not await exchange.carry(head, server):
                    return
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError, _Broken):
            # Either side left, the plan wanted it so, or the proxy is at its end.
            pass
        finally:
            for side in (client, server):
                if side is not None:
                    side.writer.close()

    async def reached(self, request: Request, *, answered: bool) -> None:
        await self._still.wait()
        moment = self.moment
        if moment and moment.at is None and moment.answered == answered and moment.match(request):
            self._act(moment)
            raise _Broken

    def _act(self, moment: Moment) -> None:
        self.moment = None
        moment.do()

    async def pass_on(self, content: bytes, sink: _Side, *, of_blob: bool) -> None:
        if not of_blob:
            await sink.send(content)
        while of_blob and content:
            await self._still.wait()
            moment = self.moment
            left = moment.at - self.passed if moment and moment.at is not None else len(content)
            piece, content = content[:left], content[left:]
            self.passed += len(piece)
            if moment and moment.at == self.passed:
                # All other exchanges wait until these bytes are out.
                self._still.clear()
                try:
                    await sink.send(piece)
                    self._act(moment)
                finally:
                    self._still.set()
            else:
                await sink.send(piece)

    async def never(self) -> None:
        await self._end.wait()
        raise _Broken


class _Exchange:
    """One request and its answer."""

    def __init__(
        self, proxy: FaultyProxy, client: _Side, request: Request, fault: Fault | None
    ) -> None:
        self._proxy, self._client = proxy, client
        self._request, self._fault = request, fault

    async def cut(self, where: Where, passed: int = 0) -> None:
        """Fail if this is where."""
        match self._fault:
            case Reset(place, after) if (place, after) == (where, passed):
                await self._client.arrived()
                self._client.reset()
                raise _Broken
            case Stall(place, after) if (place, after) == (where, passed):
                await self._proxy.never()

    async def carry(self, head: _Head, server: _Side) -> bool:
        """Whether the connection may be used again."""
        await server.send(head.raw)
        sending = asyncio.create_task(self._send(head, server))
        answering = asyncio.create_task(self._answer(server, sending))
        both = {sending, answering}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in both:
                task.cancel()
        await asyncio.gather(*both, return_exceptions=True)
        failed = [task for task in both if not task.cancelled() and task.exception()]
        if failed:
            raise failed[0].exception() or _Broken
        return not answering.cancelled() and answering.result()

    async def _send(self, head: _Head, server: _Side) -> None:
        await self._body(self._client, server, head, Where.REQUEST)

    async def _answer(self, server: _Side, sending: asyncio.Task[None]) -> bool:
        while True:
            head = await _head(server.reader)
            if head is None:
                raise _Broken
            if head.status >= 200:
                break
            await self._client.send(head.raw)
        await self.cut(Where.LOST)
        await self._proxy.reached(self._request, answered=True)
        await self._client.send(head.raw)
        if self._request.method != "HEAD" and head.status not in (204, 304):
            await self._body(server, self._client, head, Where.ANSWER)
        # An answer that came early: the rest of the request is not wanted.
        await asyncio.wait({sending}, timeout=0.2)
        if not sending.done():
            sending.cancel()
            return False
        return head.fields.get("connection", "").lower() != "close"

    async def _body(self, source: _Side, sink: _Side, head: _Head, where: Where) -> None:
        of_blob = self._request.of_blob and (where is Where.REQUEST or head.status in (200, 206))
        passed = 0
        await self.cut(where, passed)
        async for raw, is_content in _pieces(source.reader, head, is_answer=where is Where.ANSWER):
            content = raw
            while content:
                count = len(content) if not is_content else self._until_cut(where, passed, content)
                piece, content = content[:count], content[count:]
                await self._proxy.pass_on(piece, sink, of_blob=of_blob and is_content)
                if isinstance(self._fault, Slow):
                    await asyncio.sleep(len(piece) / self._fault.rate)
                if is_content:
                    passed += count
                    await self.cut(where, passed)

    def _until_cut(self, where: Where, passed: int, content: bytes) -> int:
        match self._fault:
            case Reset(place, after) | Stall(place, after) if place is where and after > passed:
                return min(len(content), after - passed)
            case Slow(rate):
                return min(len(content), max(1, rate // 20))
        return len(content)


def _side(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> _Side:
    writer.transport.set_write_buffer_limits(high=0)
    return _Side(reader, writer)


async def _head(reader: asyncio.StreamReader) -> _Head | None:
    """A request's or an answer's; None at the end of the connection."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    start, *lines = raw.decode("latin-1").split("\r\n")
    fields = {}
    for line in lines:
        name, _, value = line.partition(":")
        fields[name.strip().lower()] = value.strip()
    return _Head(raw, tuple(start.split(" ", 2)), fields)


def _request(head: _Head) -> Request:
    method, target, _ = head.words
    path, _, query = target.partition("?")
    return Request(method, path, query, head.fields.get("range", ""))


async def _pieces(
    reader: asyncio.StreamReader, head: _Head, *, is_answer: bool
) -> AsyncIterator[tuple[bytes, bool]]:
    """A body as it comes; with each piece, whether it is content and not framing."""
    if head.fields.get("transfer-encoding", "").lower() == "chunked":
        size = -1
        while size:
            line = await reader.readuntil(b"\r\n")
            yield line, False
            size = int(line.split(b";")[0], 16)
            async for piece in _exactly(reader, size):
                yield piece, True
            yield await reader.readuntil(b"\r\n"), False
    elif length := head.fields.get("content-length"):
        async for piece in _exactly(reader, int(length)):
            yield piece, True
    elif is_answer:
        while piece := await reader.read(_PIECE):
            yield piece, True


async def _exactly(reader: asyncio.StreamReader, size: int) -> AsyncIterator[bytes]:
    while size:
        piece = await reader.read(min(size, _PIECE))
        if not piece:
            raise asyncio.IncompleteReadError(b"", size)
        size -= len(piece)
        yield piece


async def _refuse(client: _Side, head: _Head, answer: Answer) -> None:
    """Answer as S3 does; whoever waits for leave to send the body doesn't send it."""
    if head.fields.get("expect", "").lower() != "100-continue":
        async for _ in _pieces(client.reader, head, is_answer=False):
            pass
    elements = {"Code": answer.code, "Message": answer.message, **answer.extra}
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in elements.items())
    said = f'<?xml version="1.0" encoding="UTF-8"?><Error>{inner}</Error>'.encode()
    body = b"" if head.words[0] == "HEAD" else said
    fields = {
        "Content-Type": "application/xml",
        "Content-Length": str(len(said)),
        "Connection": "close",
        **answer.headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    start = f"HTTP/1.1 {answer.status} Said by the proxy\r\n"
    await client.send(f"{start}{lines}\r\n".encode("latin-1") + body)
