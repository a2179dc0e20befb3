"""One request through one door: who it was, how it went, and its metrics."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from tslc_handlers import metrics
from tslc_handlers.asgi import Message, Receive, Scope, Send

in_flight = 0
"""Requests being answered by this process, through either door."""


@dataclass
class Exchange:
    """Wraps a request's `receive` and `send` and notes what passes through them.

    Times are in seconds; `first_byte` is None until the body began.
    """

    door: str
    endpoint: str
    started: float = field(default_factory=time.perf_counter)
    status: int | None = None
    first_byte: float | None = None
    complete: bool = False
    hung_up: bool = False

    def receiver(self, receive: Receive) -> Receive:
        async def noting() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect" and not self.complete:
                self.hung_up = True
            return message

        return noting

    def sender(self, send: Send) -> Send:
        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
            elif message.get("type") == "http.response.body":
                if self.first_byte is None and message.get("body"):
                    self.first_byte = time.perf_counter() - self.started
                self.complete = not message.get("more_body", False)
            await send(message)

        return noting

    def begin(self) -> None:
        global in_flight
        in_flight += 1
        metrics.IN_FLIGHT.labels(self.door).inc()

    def end(self) -> None:
        global in_flight
        in_flight -= 1
        metrics.IN_FLIGHT.labels(self.door).dec()
        status = "499" if self.hung_up else str(self.status or 500)
        metrics.REQUESTS.labels(self.endpoint, self.door, status).inc()
        metrics.SECONDS.labels(self.endpoint, self.door).observe(time.perf_counter() - self.started)
        if self.first_byte is not None:
            metrics.FIRST_BYTE.labels(self.endpoint, self.door).observe(self.first_byte)
        if self.hung_up:
            metrics.HANG_UPS.labels(self.endpoint).inc()


def request_id_of(scope: Scope) -> str:
    import uuid

    for name, value in scope["headers"]:
        if name == b"x-request-id":
            return str(value.decode("latin-1"))[:128]
    return uuid.uuid4().hex
