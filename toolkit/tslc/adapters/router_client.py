"""A client of a router, for one version: what is asked for by header."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tslc.adapters.http_errors import translated
from tslc.adapters.shared_client import shared_client
from tslc.adapters.worker_door import Reply
from tslc.domain.router.names import VERSION_HEADER

if TYPE_CHECKING:
    import httpx


@dataclass
class RouterClient:
    """`url`: where the router is, without `/v1`; `api_key` is sent, and never shown. Usable from
    many threads."""

    url: str
    version: str
    api_key: str | None = field(default=None, repr=False)
    _client: httpx.Client = field(init=False, repr=False)

    def __post_init__(self) -> None:
        headers = {VERSION_HEADER: self.version}
        if self.api_key:
            headers["authorization"] = f"Bearer {self.api_key}"
        self._client = shared_client(base_url=self.url, headers=headers)

    def request(self, path: str, body: object, seconds: float) -> Reply:
        """A whole answer to a POST. Raises NotRunning, RemoteFailed."""
        started = time.monotonic()
        with translated(f"the router at {self.url}"):
            answer = self._client.post(path, json=body, timeout=seconds)
        return Reply(answer.status_code, answer.content, time.monotonic() - started)

    def close(self) -> None:
        self._client.close()
