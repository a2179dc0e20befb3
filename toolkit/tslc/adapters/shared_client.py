"""An HTTP client that many threads use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx


def shared_client(**options: Any) -> httpx.Client:
    """httpx.Client(**options), which closes no connection until it is closed itself.

    By default those that were idle for 5 s or are more than 20 are closed, and httpcore 1.0 counts
    as idle what another thread was given a moment ago: its request ends in "Bad file descriptor".
    """
    import httpx

    limits = httpx.Limits(
        max_connections=None, max_keepalive_connections=None, keepalive_expiry=None
    )
    return httpx.Client(limits=limits, **options)
