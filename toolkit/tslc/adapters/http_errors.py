"""The one place where httpx's exceptions become ours.

Like every adapter, it imports httpx when it is used: it takes 0.1 s to load.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tslc.errors import NotRunning, RemoteFailed


@contextmanager
def translated(subject: str, *, hint: str | None = None) -> Iterator[None]:
    """Wrap every use of httpx, the reading of a stream included.

    Raises NotRunning when nothing listens, RemoteFailed for everything else httpx may raise.
    """
    import httpx

    try:
        yield
    except httpx.ConnectError as error:
        raise NotRunning(f"{subject} does not answer: {error}", hint=hint) from error
    except httpx.TimeoutException as error:
        raise RemoteFailed(f"{subject} did not answer in time", hint=hint) from error
    except (httpx.HTTPError, httpx.InvalidURL, httpx.CookieConflict, httpx.StreamError) as error:
        kind = type(error).__name__
        raise RemoteFailed(f"{subject} broke off: {error or kind} ({kind})", hint=hint) from error
