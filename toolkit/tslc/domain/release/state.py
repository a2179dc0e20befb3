"""What an environment is to serve: the document in the store that every node converges to.

    environments/<env>/state.json                  generation N, changed only by compare-and-swap
    environments/<env>/history/<generation>.json   the same bytes, immutable

Each generation names the SHA-256 of the one before it, so a gap or an edit shows. The state of
generation N is itself the last entry of the history: whoever writes N + 1 first sees to it that
entry N lies there, so a writer that dies half-way leaves no gap.

Laws: `EnvironmentState.parse(s.render()) == s`; what a newer tslc wrote is refused, never guessed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any

from tslc.domain.archive_name import model_name_problem, version_problem
from tslc.domain.manifest import canonical_json
from tslc.domain.release.shares import shares_of
from tslc.domain.release.sticky import parse_sticky
from tslc.domain.router.table import WHOLE, ApiKey, Segment, Shadow, Sticky
from tslc.domain.vocabulary import unknown_word
from tslc.errors import BadFile, Mistake, Refused

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

SCHEMA = 1
_STRICT = {"extra": "forbid"}
MAX_BYTES = 4 * 1024 * 1024


class Strategy(StrEnum):
    """`warm`: the new version is loaded beside the old, which stays for an instant way back.
    `recreate`: the old one goes first, one node after the other."""

    WARM = "warm"
    RECREATE = "recreate"


@dataclass(frozen=True)
class Change:
    """Who changed the environment, when (UTC, ISO 8601), why, and the command that did."""

    __pydantic_config__ = _STRICT

    who: str
    when: str
    why: str
    what: str


@dataclass(frozen=True)
class ModelState:
    """One model. `versions` are to be loaded; `segments` divide the traffic among some of them.

    `stable`: the version that had all traffic last; `previous`: the one before it, where a rollback
    goes.
    """

    versions: tuple[str, ...]
    segments: tuple[Segment, ...]
    stable: str | None = None
    previous: str | None = None
    sticky: Sticky | None = None
    shadow: Shadow | None = None
    strategy: Strategy = Strategy.WARM

    @property
    def shares(self) -> dict[str, int]:
        """Hundredths of a percent of each version that is loaded; 0 for those without traffic."""
        return {**dict.fromkeys(self.versions, 0), **shares_of(self.segments)}


@dataclass(frozen=True)
class EnvironmentState:
    environment: str
    generation: int = 0
    previous: str | None = None
    change: Change = field(default_factory=lambda: Change("", "", "", ""))
    models: Mapping[str, ModelState] = field(default_factory=dict)
    keys: tuple[ApiKey, ...] = ()

    @property
    def digest(self) -> str:
        """64 hex digits of SHA-256 of the rendered state: what the next generation names."""
        return hashlib.sha256(self.render()).hexdigest()

    def following(self, change: Change, **changed: Any) -> EnvironmentState:
        """The next generation, with some fields changed."""
        previous = self.digest if self.generation else None
        return replace(
            self, generation=self.generation + 1, previous=previous, change=change, **changed
        )

    def render(self) -> bytes:
        return canonical_json(
            {
                "schema": SCHEMA,
                "environment": self.environment,
                "generation": self.generation,
                "previous": self.previous,
                "change": vars(self.change),
                "models": {name: _model_json(one) for name, one in self.models.items()},
                "keys": [vars(key) for key in self.keys],
            }
        )

    @classmethod
    def parse(cls, content: bytes, subject: str) -> EnvironmentState:
        """Raises BadFile with every mistake, Refused for a document of a newer tslc."""
        _expect_known(content, subject)
        from pydantic import ValidationError

        try:
            document = _schema().validate_json(content, strict=True)
        except ValidationError as error:
            raise BadFile(subject, _schema_mistakes(error)) from None
        if found := tuple(_mistakes(document)):
            raise BadFile(subject, found)
        models = {name: _model(one) for name, one in document.models.items()}
        return cls(
            document.environment,
            document.generation,
            document.previous,
            document.change,
            models,
            tuple(document.keys),
        )


@dataclass(frozen=True)
class _Model:
    __pydantic_config__ = _STRICT

    versions: list[str]
    segments: list[tuple[str, int]]
    stable: str | None
    previous: str | None
    sticky: str | None
    shadow: tuple[str, int] | None
    strategy: Strategy


@dataclass(frozen=True)
class _Document:
    __pydantic_config__ = _STRICT

    schema: int
    environment: str
    generation: int
    previous: str | None
    change: Change
    models: dict[str, _Model]
    keys: list[ApiKey]


@cache
def _schema() -> TypeAdapter[_Document]:
    """Made when a document is read: pydantic takes longer to start than many commands last."""
    from pydantic import TypeAdapter

    return TypeAdapter(_Document)


_FIX = "restore it from the history: tslc history verify names the last good generation"


def _expect_known(content: bytes, subject: str) -> None:
    try:
        schema = json.loads(content).get("schema")
    except (ValueError, AttributeError):
        return
    if isinstance(schema, int) and schema > SCHEMA:
        raise Refused(
            f"{subject} was written by a newer tslc (schema {schema}, this one knows {SCHEMA})",
            hint="upgrade tslc here",
        )


def _schema_mistakes(error: ValidationError) -> Iterator[Mistake]:
    for one in error.errors(include_url=False, include_input=False):
        where = ".".join(str(part) for part in one["loc"]) or "the file"
        if one["type"] == "unexpected_keyword_argument":
            known = _Model if len(one["loc"]) == 3 else _Document
            yield unknown_word(where, str(one["loc"][-1]), known.__dataclass_fields__)
        else:
            yield Mistake(where, one["msg"].lower(), _FIX)


def _mistakes(document: _Document) -> Iterator[Mistake]:
    for name, model in document.models.items():
        where = f"models.{name}"
        if problem := model_name_problem(name):
            yield Mistake(where, problem, _FIX)
        for version in model.versions:
            if problem := version_problem(version):
                yield Mistake(f"{where}.versions", problem, _FIX)
        total = sum(weight for _, weight in model.segments)
        if total != WHOLE or any(weight <= 0 for _, weight in model.segments):
            yield Mistake(f"{where}.segments", f"they sum to {total}, not {WHOLE}", _FIX)
        named = {version for version, _ in model.segments}
        named |= {model.shadow[0]} if model.shadow else set()
        if strangers := sorted(named - set(model.versions)):
            yield Mistake(where, f"not among its versions: {', '.join(strangers)}", _FIX)
        if model.sticky is not None and parse_sticky(model.sticky) is None:
            yield Mistake(f"{where}.sticky", f"{model.sticky!r}", _FIX)


def _model(document: _Model) -> ModelState:
    return ModelState(
        tuple(document.versions),
        tuple(Segment(*one) for one in document.segments),
        document.stable,
        document.previous,
        parse_sticky(document.sticky) if document.sticky else None,
        Shadow(*document.shadow) if document.shadow else None,
        document.strategy,
    )


def _model_json(model: ModelState) -> dict[str, Any]:
    shadow = model.shadow
    return {
        "versions": list(model.versions),
        "segments": [[one.version, one.weight] for one in model.segments],
        "stable": model.stable,
        "previous": model.previous,
        "sticky": str(model.sticky) if model.sticky else None,
        "shadow": [shadow.version, shadow.share] if shadow else None,
        "strategy": str(model.strategy),
    }
