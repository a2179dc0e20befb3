"""Which ports are picked."""

from __future__ import annotations

import socket

import pytest

from tslc.adapters import loopback_ports
from tslc.adapters.loopback_ports import HOST, pick_free


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> range:
    """Few ports to pick from, all free a moment ago."""
    first, *_ = pick_free(1)
    few = range(first, first + 6)
    monkeypatch.setattr(loopback_ports, "_STEADY", few)
    return few


def test_what_another_server_is_to_have_is_not_picked(steady: range) -> None:
    kept = steady[::2]
    assert not {*pick_free(3, apart=kept)} & {*kept}


def test_what_is_taken_is_not_picked(steady: range) -> None:
    with socket.create_server((HOST, steady[0])):
        assert steady[0] not in pick_free(len(steady))
