"""What an engine says of a failure is text too: a message may quote what was generated.

Of a client's mistake (4xx) the engine's message is released if the guard calls it safe; of its own
failures it is for the log.
"""

from __future__ import annotations

import json
import logging
import re

from tslc_handlers.asgi import ASGIApp, Message, Receive, Scope, Send, send_error
from tslc_handlers.exchange import request_id_of
from tslc_handlers.guard.judge import Judge, NoVerdict, Stage
from tslc_handlers.guard.prompt import Role, Turn
from tslc_handlers.guard.requests import GUARDED

logger = logging.getLogger(__name__)

_TYPE = re.compile(r"[A-Za-z_]{1,64}", re.ASCII)


def with_judged_errors(app: ASGIApp, judge: Judge) -> ASGIApp:
    """The application, its refusals on guarded endpoints worded anew."""

    async def judged(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] in GUARDED:
            send = _Errors(judge, send, request_id_of(scope))
        await app(scope, receive, send)

    return judged


class _Errors:
    """A `send` that keeps errors until they are whole."""

    def __init__(self, judge: Judge, send: Send, request_id: str) -> None:
        self._judge = judge
        self._send = send
        self._request_id = request_id
        self._status = 0
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
        if self._status < 400:
            await self._send(message)
        elif message["type"] == "http.response.body":
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._tell()

    async def _tell(self) -> None:
        try:
            error = json.loads(self._body)["error"]
            text, kind = str(error["message"]), str(error.get("type"))
        except (ValueError, TypeError, KeyError, AttributeError):
            text, kind = self._body.decode(errors="replace"), ""
        if self._status >= 500 or not await self._may_go(text):
            logger.error("request %s: the engine answered %s", self._request_id, self._status)
            text = "the engine failed" if self._status >= 500 else "the engine refused the request"
        type = kind if _TYPE.fullmatch(kind) else None
        await send_error(self._send, self._status, text, type=type)

    async def _may_go(self, text: str) -> bool:
        if not text.strip():
            return True
        try:
            turns = (Turn(Role.AGENT, text),)
            return (await self._judge.judge_once(turns, Stage.OUTPUT, self._request_id)).safe
        except NoVerdict:
            return False
