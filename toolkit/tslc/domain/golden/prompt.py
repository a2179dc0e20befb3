"""A golden prompt: a request to a version, and what must hold of its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CHAT_PATH = "/v1/chat/completions"
COMPLETIONS_PATH = "/v1/completions"


@dataclass(frozen=True)
class Expectation:
    """What must hold of an answer. None and empty mean: not asked for."""

    contains: tuple[str, ...] = ()
    not_contains: tuple[str, ...] = ()
    exact: str | None = None
    regex: str | None = None
    json_schema: Mapping[str, Any] | bool | None = None
    refusal: bool | None = None
    status: int = 200
    within_seconds: float | None = None

    @property
    def of_text(self) -> bool:
        """Whether anything is asked of the answer's text."""
        return bool(
            self.contains
            or self.not_contains
            or self.exact is not None
            or self.regex is not None
            or self.json_schema is not None
            or self.refusal is not None
        )


@dataclass(frozen=True)
class GoldenPrompt:
    name: str
    path: str
    request: Mapping[str, Any]
    expect: Expectation = field(default_factory=Expectation)

    def body(self, model: str) -> dict[str, Any]:
        """The request to send: `model` is filled in unless the prompt names one (a LoRA's)."""
        return {"model": model, **self.request}
