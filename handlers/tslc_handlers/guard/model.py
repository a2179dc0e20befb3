"""A guard model, whatever it runs in: a text goes in, the first tokens of its answer come out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tslc_handlers.guard.reading import Token

ANSWER_TOKENS = 16
"""Enough for two newlines, a word and some categories."""
CODE_TOKENS = 12
TOP = 5
"""Log probabilities asked for at each place."""


class GuardFailed(Exception):
    """The guard gave no answer."""


class GuardModel(Protocol):
    async def complete(self, prompt: str, max_tokens: int) -> Sequence[Token]:
        """The likeliest continuation, at most `max_tokens` long. Raises GuardFailed."""
        ...
