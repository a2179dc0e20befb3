"""The chat protocol's pieces, and TorchServe's keys."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tslc.domain.chat import Piece, Question, error_text, read_answer, read_event
from tslc.domain.tokens import KeyKind, Keys


def test_a_question_asks_for_nothing_that_was_not_said() -> None:
    assert Question("hi").request("m", stream=False) == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": False,
    }
    full = Question("hi", "be brief", 5, 0.0).request("m", stream=True)
    assert full["messages"][0] == {"role": "system", "content": "be brief"}  # type: ignore[index]
    assert (full["max_tokens"], full["temperature"]) == (5, 0.0)


def test_a_stream_is_read_event_by_event() -> None:
    assert read_event("") is None
    assert read_event(": keep-alive") is None
    assert read_event('data: {"choices": [{"delta": {"role": "assistant"}}]}') == Piece()
    delta = 'data: {"choices": [{"delta": {"content": "hé"}, "finish_reason": "stop"}]}'
    assert read_event(delta) == Piece("hé", "stop")
    usage = 'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}'
    assert read_event(usage) == Piece(tokens_in=3, tokens_out=4)
    assert read_event("data: [DONE]") == Piece(done=True)


@pytest.mark.parametrize("line", ["data: {", "data: []", 'data: {"error": {"message": "no"}}'])
def test_what_is_no_answer_is_an_error(line: str) -> None:
    piece = read_event(line)
    assert piece is not None
    assert piece.error


def test_a_whole_answer_may_have_no_text() -> None:
    assert read_answer('{"choices": [{"message": {"content": null}}]}') == Piece(done=True)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"error": {"message": "too long", "code": 400}}', "too long"),
        ('{"code": 404, "type": "X", "message": "Model not found: m"}', "Model not found: m"),
        ("<html>", "<html>"),
        ("", "an empty body"),
    ],
)
def test_errors_of_all_servers_are_read(body: str, said: str) -> None:
    assert error_text(body) == said


KEY_FILE = """{
  "management": {"key": "MMM", "expiration time": "2026-01-31T12:00:00.123456789Z"},
  "inference": {"key": "III", "expiration time": "2026-01-31T13:00:00Z"},
  "API": {"key": "AAA"}
}"""


def test_keys_are_read_with_their_ends() -> None:
    keys = Keys.parse(KEY_FILE)
    assert keys is not None
    noon = datetime(2026, 1, 31, 12, 0, 1, tzinfo=UTC)
    assert keys.renewal == "AAA"
    assert keys.of(KeyKind.MANAGEMENT).expired(noon)
    assert not keys.of(KeyKind.INFERENCE).expired(noon)


@pytest.mark.parametrize("cut", range(0, len(KEY_FILE), 7))
def test_a_half_written_key_file_is_no_key_file(cut: int) -> None:
    assert Keys.parse(KEY_FILE[:cut]) is None
