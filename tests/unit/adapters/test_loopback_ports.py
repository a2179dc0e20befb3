"""Which ports are picked."""

from __future__ import annotations

import socket

import pytest

from tslc.adapters.loopback_ports import HOST, pick_free


@pytest.fixture
def few() -> frozenset[int]:
    """Ports that were free a moment ago."""
    return frozenset(pick_free(6))


def others(ports: frozenset[int]) -> frozenset[int]:
    return frozenset(range(1 << 16)) - ports


def test_what_another_server_is_to_have_is_not_picked(few: frozenset[int]) -> None:
    picked = pick_free(len(few), apart=others(few))
    assert picked
    assert few >= {*picked}


def test_what_is_taken_is_not_picked(few: frozenset[int]) -> None:
    taken, *free = few
    with socket.create_server((HOST, taken)):
        assert {*pick_free(len(few), apart=others(few))} <= {*free}
