"""How long a store that does not do its part is borne with."""

from __future__ import annotations

import pytest

from tslc.adapters.s3_store import ATTEMPTS, SILENCE, Credentials, S3Store, StoreAddress
from tslc.errors import BadInput

ADDRESS = StoreAddress("bucket", "", "http://127.0.0.1:1", credentials=Credentials("a", "b"))


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SILENCE, raising=False)
    monkeypatch.delenv("AWS_MAX_ATTEMPTS", raising=False)


def test_a_silent_server_is_given_up_within_about_two_minutes():
    config = S3Store(ADDRESS).client.meta.config
    most_pauses = sum(2**n for n in range(ATTEMPTS - 1))
    assert config.retries["total_max_attempts"] == ATTEMPTS
    assert max(config.connect_timeout, config.read_timeout) * ATTEMPTS + most_pauses <= 125


def test_variables_change_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(SILENCE, "0.5")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
    config = S3Store(ADDRESS).client.meta.config
    assert (config.connect_timeout, config.read_timeout) == (0.5, 0.5)
    assert config.retries["total_max_attempts"] == 3


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "1e9"])
def test_a_time_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, text: str):
    monkeypatch.setenv(SILENCE, text)
    with pytest.raises(BadInput, match=SILENCE):
        S3Store(ADDRESS)
