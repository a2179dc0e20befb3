"""The keys the linter knows are the keys that the code behind them reads."""

from __future__ import annotations

from dataclasses import fields

from tslc.domain.config_keys import ENDPOINTS, HANDLER
from tslc_handlers.config import HandlerConfig
from tslc_handlers.endpoints import KNOWN


def test_the_endpoints_are_those_the_handlers_know() -> None:
    assert set(ENDPOINTS) == set(KNOWN)


def test_the_handlers_keys_are_those_of_its_section() -> None:
    assert set(HANDLER) == {field.name for field in fields(HandlerConfig)}
