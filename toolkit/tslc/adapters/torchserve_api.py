"""TorchServe's management and inference API, over loopback, with the keys from key_file.json.

An expired key is renewed with the key that renews; nothing else is ever retried.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote

from tslc.adapters.clock import Deadline, now
from tslc.adapters.http_errors import translated
from tslc.adapters.shared_client import shared_client
from tslc.domain.chat import error_text
from tslc.domain.node import Ports
from tslc.domain.served import Described
from tslc.domain.tokens import KeyKind, Keys
from tslc.errors import Refused, RemoteFailed

if TYPE_CHECKING:
    import httpx

_TIMEOUT = 30.0
_PAGE = 100
_UNAUTHORIZED = "InvalidKeyException"


class TorchServeApi:
    """A client of one node's TorchServe. Every call raises RemoteFailed or NotRunning."""

    def __init__(
        self, ports: Ports, key_file: Path | None, node: str, *, key_seconds: float = 2.0
    ) -> None:
        """`key_seconds`: how long to wait for a key file that is being written.

        Without a key file nothing is sent: the node asks for no keys.
        """
        self._bases = {
            KeyKind.MANAGEMENT: f"http://127.0.0.1:{ports.management}",
            KeyKind.INFERENCE: f"http://127.0.0.1:{ports.inference}",
        }
        self._key_file = key_file
        self._subject = f"TorchServe of node '{node}'"
        self._key_seconds = key_seconds
        # Plain HTTP on loopback: loading the machine's certificates takes longer than a request.
        self._client = shared_client(timeout=_TIMEOUT, trust_env=False, verify=False)

    # --- management --------------------------------------------------------------------------

    def models(self) -> tuple[str, ...]:
        """The names of all models."""
        names: list[str] = []
        page: str | None = "0"
        while page is not None:
            found = self._manage("GET", f"/models?limit={_PAGE}&next_page_token={page}")
            names += [str(one["modelName"]) for one in found["models"]]
            page = found.get("nextPageToken")
        return tuple(names)

    def versions(self, model: str) -> tuple[Described, ...]:
        """All versions of a model; none when there is no such model."""
        return tuple(_described(one) for one in self._describe(f"/models/{quote(model)}/all"))

    def default_version(self, model: str) -> str | None:
        """The version that answers when none is named; None when there is no such model."""
        found = self._describe(f"/models/{quote(model)}")
        return str(found[0]["modelVersion"]) if found else None

    def register(self, archive: str, seconds: float, *, model: str | None = None) -> None:
        """Register an archive of the model store by its file name; workers start meanwhile.

        `model`: the name to serve it under, if not its own.

        Unpacking (and installing requirements, where the node does that) may take `seconds`.
        Raises Refused when the version is registered already.
        """
        query = {"url": archive, "synchronous": "false", **({"model_name": model} if model else {})}
        if model:
            query["initial_workers"] = "1"
        self._manage("POST", "/models", query=query, seconds=seconds)

    def set_default(self, model: str, version: str) -> None:
        self._manage("PUT", f"{_version_path(model, version)}/set-default")

    def unregister(self, model: str, version: str, seconds: float = 120.0) -> None:
        """Raises Refused for the default version while there are others: TorchServe keeps it."""
        self._manage("DELETE", _version_path(model, version), seconds=seconds)

    def scale(self, model: str, version: str, workers: int, *, wait_seconds: float = 0.0) -> None:
        """Have so many workers; those too many are killed. Waits for it where asked to."""
        query = {"min_worker": str(workers), "max_worker": str(workers)}
        query["synchronous"] = str(wait_seconds > 0).lower()
        seconds = wait_seconds or _TIMEOUT
        self._manage("PUT", _version_path(model, version), query=query, seconds=seconds)

    def inference_key(self) -> str | None:
        """The key that requests through the bridge need; None where none is asked for."""
        return self._key(KeyKind.INFERENCE) if self._key_file else None

    def _describe(self, path: str) -> list[dict[str, Any]]:
        reply = self._send(KeyKind.MANAGEMENT, "GET", path)
        if reply.status_code == HTTPStatus.NOT_FOUND:
            return []
        found = self._read(reply)
        return list(found) if isinstance(found, list) else []

    def _manage(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        seconds: float = _TIMEOUT,
    ) -> Any:
        reply = self._send(KeyKind.MANAGEMENT, method, path, query=query, seconds=seconds)
        return self._read(reply)

    def _read(self, reply: httpx.Response) -> Any:
        if reply.is_error:
            _raise(reply.status_code, reply.text, self._subject)
        try:
            return json.loads(reply.text)
        except ValueError:
            raise RemoteFailed(
                f"{self._subject} answered something that is not JSON: {reply.text[:200]}"
            ) from None

    # --- inference: the bridge ---------------------------------------------------------------

    def predict(
        self, model: str, version: str, path: str, body: object, seconds: float
    ) -> tuple[int, str]:
        """A whole answer of a worker through TorchServe: status and body."""
        url = f"/predictions{_version_path(model, version).removeprefix('/models')}{path}"
        method = "GET" if body is None else "POST"
        reply = self._send(KeyKind.INFERENCE, method, url, body=body, seconds=seconds)
        return reply.status_code, reply.text

    @contextlib.contextmanager
    def predict_stream(
        self, model: str, version: str, path: str, body: object, seconds: float
    ) -> Iterator[tuple[int, Iterator[str]]]:
        """A streamed answer through TorchServe: status and lines. An error's body is one line."""
        url = f"/predictions{_version_path(model, version).removeprefix('/models')}{path}"
        with self._bridge_errors():
            reply = self._open(KeyKind.INFERENCE, url, body, seconds)
            if _is_unauthorized(reply):
                self._renew(KeyKind.INFERENCE)
                reply = self._open(KeyKind.INFERENCE, url, body, seconds)
            with contextlib.closing(reply):
                yield reply.status_code, self._lines(reply)

    def _open(self, kind: KeyKind, url: str, body: object, seconds: float) -> httpx.Response:
        request = self._client.build_request(
            "POST", self._bases[kind] + url, json=body, headers=self._head(kind), timeout=seconds
        )
        reply = self._client.send(request, stream=True)
        if reply.is_error:
            reply.read()
        return reply

    def _lines(self, reply: httpx.Response) -> Iterator[str]:
        if reply.is_error:
            yield reply.text
            return
        with self._bridge_errors():
            yield from reply.iter_lines()

    def _bridge_errors(self) -> contextlib.AbstractContextManager[None]:
        return translated(self._subject, hint="tslc status")

    # --- keys --------------------------------------------------------------------------------

    def _send(
        self,
        kind: KeyKind,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        seconds: float = _TIMEOUT,
    ) -> httpx.Response:
        def once() -> httpx.Response:
            return self._client.request(
                method,
                self._bases[kind] + path,
                params=query,
                json=body,
                headers=self._head(kind),
                timeout=seconds,
            )

        with self._bridge_errors():
            reply = once()
            if _is_unauthorized(reply):
                self._renew(kind)
                reply = once()
        return reply

    def _head(self, kind: KeyKind) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key(kind)}"} if self._key_file else {}

    def _key(self, kind: KeyKind) -> str:
        key = self._keys().of(kind)
        if key.expired(now()):
            self._renew(kind)
            key = self._keys().of(kind)
        return key.text

    def _renew(self, kind: KeyKind) -> None:
        """TorchServe writes the new key into its file; its answer is empty."""
        reply = self._client.get(
            f"{self._bases[KeyKind.MANAGEMENT]}/token",
            params={"type": kind.value},
            headers={"Authorization": f"Bearer {self._keys().renewal}"},
        )
        if reply.is_error:
            _raise(reply.status_code, reply.text, self._subject)

    def _keys(self) -> Keys:
        for _ in Deadline(self._key_seconds).rounds(0.05):
            with contextlib.suppress(OSError):
                if self._key_file and (keys := Keys.parse(self._key_file.read_text("utf-8"))):
                    return keys
        raise RemoteFailed(
            f"{self._subject} left no keys in {self._key_file}", hint="tslc down && tslc up"
        )


def _version_path(model: str, version: str) -> str:
    return f"/models/{quote(model)}/{quote(version)}"


def _described(one: Mapping[str, Any]) -> Described:
    return Described(
        model=str(one["modelName"]),
        version=str(one["modelVersion"]),
        archive=str(one["modelUrl"]),
        workers=int(one["minWorkers"]),
        pids=tuple(int(worker["pid"]) for worker in one["workers"] if worker["pid"] > 0),
        ready_pids=tuple(
            int(worker["pid"]) for worker in one["workers"] if worker.get("status") == "READY"
        ),
    )


def _is_unauthorized(reply: httpx.Response) -> bool:
    return reply.is_error and _UNAUTHORIZED in reply.text


def _raise(status: int, body: str, subject: str) -> NoReturn:
    said = error_text(body)
    if status in (HTTPStatus.CONFLICT, HTTPStatus.FORBIDDEN):
        raise Refused(f"{subject} refused: {said}")
    raise RemoteFailed(f"{subject} answered {status}: {said}")
