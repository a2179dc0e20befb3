"""`tslc chat`: a question to a version, through its direct door or TorchServe's bridge."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from tslc.adapters.worker_door import first_door
from tslc.domain.chat import CHAT_PATH, Piece, Question, error_text, read_answer, read_event
from tslc.errors import BadInput, RemoteFailed
from tslc.verbs.running_node import RunningNode, open_node, served_version

_MODELS_PATH = "/v1/models"
_SECONDS = 600.0


@dataclass(frozen=True)
class Target:
    """Where to ask; `version` None means the default one."""

    node: str
    model: str
    version: str | None
    bridge: bool


@dataclass(frozen=True)
class Chat:
    """An open conversation with one version."""

    node: RunningNode
    model: str
    version: str
    bridge: bool

    def ask(self, question: Question, *, stream: bool) -> Iterator[Piece]:
        """The answer, piece by piece or in one.

        Raises BadInput when the server finds the request wrong, RemoteFailed when it fails or the
        stream ends before its end.
        """
        body = question.request(self._served_name(), stream=stream)
        if not stream:
            status, text = self._whole(CHAT_PATH, body)
            _check(status, text)
            yield _checked(read_answer(text))
            return
        with self._stream(body) as (status, lines):
            if status >= 400:
                _check(status, "".join(lines))
            for line in lines:
                if piece := read_event(line):
                    yield _checked(piece)
                    if piece.done:
                        return
        raise RemoteFailed(f"{self.model} {self.version} broke off in the middle of its answer")

    def _served_name(self) -> str:
        """What the engine calls the model; its archive may have given it another name."""
        status, text = self._whole(_MODELS_PATH, None)
        try:
            return str(json.loads(text)["data"][0]["id"]) if status == 200 else self.model
        except (ValueError, LookupError, TypeError):
            return self.model

    def _whole(self, path: str, body: object) -> tuple[int, str]:
        if self.bridge:
            return self.node.api.predict(self.model, self.version, path, body, _SECONDS)
        door = first_door(self.node.paths.run, self.model, self.version)
        reply = door.request(path, body, _SECONDS)
        return reply.status, reply.body.decode("utf-8", errors="replace")

    def _stream(self, body: object) -> AbstractContextManager[tuple[int, Iterator[str]]]:
        if self.bridge:
            api = self.node.api
            return api.predict_stream(self.model, self.version, CHAT_PATH, body, _SECONDS)
        door = first_door(self.node.paths.run, self.model, self.version)
        return door.stream(CHAT_PATH, body, _SECONDS)


def open_chat(home: Path, target: Target) -> Chat:
    """Raises NotRunning without a node, BadInput without such a version."""
    node = open_node(home, target.node)
    one = served_version(node, target.model, target.version)
    return Chat(node, one.model, one.version, target.bridge)


def _check(status: int, text: str) -> None:
    if status < 400:
        return
    said = error_text(text)
    if status in (400, 413, 422):
        raise BadInput(f"the request was refused ({status}): {said}")
    raise RemoteFailed(f"the answer was {status}: {said}", hint="tslc status")


def _checked(piece: Piece) -> Piece:
    if piece.error is not None:
        raise RemoteFailed(f"the answer ended with an error: {piece.error}")
    return piece
