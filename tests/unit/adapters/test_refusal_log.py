"""Refusals are read from the access log once each, also across its replacement."""

from __future__ import annotations

from pathlib import Path

from tslc.adapters.envoy_stats import RefusalLog

REFUSED = b'{"first_byte_ms":null,"status":404}\n'
ANSWERED = b'{"first_byte_ms":3,"status":200}\n'


def append(log: Path, content: bytes) -> None:
    with log.open("ab") as file:
        file.write(content)


def test_what_was_there_at_first_is_passed_over(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    append(log, REFUSED)
    refusals = RefusalLog(log)
    append(log, ANSWERED + REFUSED)
    assert refusals.statuses() == ["404"]
    assert refusals.statuses() == []


def test_a_line_that_is_not_complete_counts_when_it_is(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    append(log, b"")
    refusals = RefusalLog(log)
    append(log, REFUSED[:20])
    assert refusals.statuses() == []
    append(log, REFUSED[20:])
    assert refusals.statuses() == ["404"]


def test_the_rest_of_a_log_that_was_replaced_comes_before_the_new_one(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    append(log, b"")
    refusals = RefusalLog(log)
    append(log, REFUSED)
    log.rename(tmp_path / "access.log.1")
    append(log, REFUSED * 2)
    assert refusals.statuses() == ["404"] * 3


def test_a_log_that_begins_later_is_read_from_its_beginning(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    refusals = RefusalLog(log)
    assert refusals.statuses() == []
    append(log, REFUSED)
    assert refusals.statuses() == ["404"]
