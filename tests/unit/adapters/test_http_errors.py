"""No exception of httpx leaves an adapter as it came."""

from __future__ import annotations

import inspect

import httpx
import pytest

from tslc.adapters.http_errors import translated
from tslc.errors import NotRunning, RemoteFailed

KINDS = [
    kind
    for _, kind in inspect.getmembers(httpx, inspect.isclass)
    if issubclass(kind, Exception) and kind.__module__.startswith("httpx")
]


def make(kind: type[Exception]) -> Exception:
    return kind.__new__(kind)


def test_httpx_has_exceptions() -> None:
    assert len(KINDS) > 20


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_exception_of_httpx_becomes_ours(kind: type[Exception]) -> None:
    error = make(kind)
    with pytest.raises(RemoteFailed) as caught, translated("the server", hint="tslc status"):
        raise error
    assert caught.value.message.startswith("the server ")
    assert caught.value.hint == "tslc status"
    assert isinstance(caught.value, NotRunning) == (kind is httpx.ConnectError)
