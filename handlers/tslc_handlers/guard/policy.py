"""`handler.guard`: which hazards count, how sure the guard has to be, and what happens then.

All mistakes of the section are raised together. A word that is not known is never a default.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from tslc_handlers.config import ConfigError, nearest
from tslc_handlers.guard.prompt import LLAMA_GUARD_3, Category
from tslc_handlers.guard.reading import Reading

UNNAMED = "unnamed"
"""The category of a verdict that says "unsafe" and names none."""
REFUSAL = "I can't help with that."
INPUT, OUTPUT = "input", "output"
STAGES = (INPUT, OUTPUT)
_CODE = re.compile(r"S[1-9]\d{0,2}", re.ASCII)
_URL = re.compile(r"https?://[^/\s]")
_LONGEST_SECONDS = 600
_CATEGORY_KEYS = ("enabled", "threshold", "name", "description")


class Mode(StrEnum):
    """`enforce`: what is unsafe is not let through. `monitor`: it is, and told."""

    ENFORCE = "enforce"
    MONITOR = "monitor"


class OnError(StrEnum):
    """Without a verdict nothing is released: `unavailable` says so (503), `refuse` refuses."""

    UNAVAILABLE = "unavailable"
    REFUSE = "refuse"


@dataclass(frozen=True)
class Violation:
    """A category that the guard named, and its score (0 to 1)."""

    code: str
    score: float


@dataclass(frozen=True)
class GuardPolicy:
    """`handler.guard` with its defaults.

    `url`: an OpenAI endpoint of the guard's (…/v1), where the archive names no guard model;
    `model`: its name there; `api_key_env`: the variable with its key. `window_tokens`: how many
    tokens of a stream one verdict covers. `timeout_seconds`: how long a verdict may take.
    `stages`: what is judged, of STAGES. `environment`: what the guard's own engine finds there, and
    the other engine does not.
    """

    url: str | None = None
    model: str | None = None
    api_key_env: str | None = None
    mode: Mode = Mode.ENFORCE
    on_error: OnError = OnError.UNAVAILABLE
    threshold: float = 0.5
    thresholds: Mapping[str, float] = field(default_factory=dict)
    categories: tuple[Category, ...] = LLAMA_GUARD_3
    refusal: str = REFUSAL
    window_tokens: int = 32
    timeout_seconds: float = 10.0
    stages: tuple[str, ...] = STAGES
    audit_text: bool = False
    vllm_engine_config: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def codes(self) -> frozenset[str]:
        return frozenset(one.code for one in self.categories)

    def threshold_of(self, code: str) -> float:
        return self.thresholds.get(code, self.threshold)

    @property
    def lowest_threshold(self) -> float:
        return min((self.threshold_of(one.code) for one in self.categories), default=1.0)

    def violations(self, reading: Reading) -> tuple[Violation, ...]:
        """What of a reading counts. "unsafe" without a category, or with more than categories,
        counts too: that is no yes."""
        known = {*self.codes, *(one.code for one in LLAMA_GUARD_3)}
        found = []
        for code in reading.codes:
            if code not in known:  # off no list: the guard was told of no such category
                found.append(Violation(UNNAMED, reading.score))
            elif code in self.codes and reading.score >= self.threshold_of(code):
                found.append(Violation(code, reading.score))
        if reading.unsafe and (reading.more or not reading.codes) and not found:
            found.append(Violation(UNNAMED, reading.score))
        return tuple(dict.fromkeys(found))

    def wants_codes(self, reading: Reading) -> bool:
        """Whether "safe" was said with so little certainty that a low threshold may be reached."""
        return not reading.unsafe and reading.score >= self.lowest_threshold

    @classmethod
    def parse(cls, section: Mapping[str, Any]) -> GuardPolicy:
        """Raises ConfigError."""
        values, mistakes = _read(section)
        if mistakes:
            raise ConfigError(mistakes)
        return cls(**values)


_KINDS: dict[str, tuple[type, ...]] = {
    "url": (str,),
    "model": (str,),
    "api_key_env": (str,),
    "mode": (str,),
    "on_error": (str,),
    "threshold": (int, float),
    "categories": (dict,),
    "refusal": (str,),
    "window_tokens": (int,),
    "timeout_seconds": (int, float),
    "stages": (list,),
    "audit_text": (bool,),
    "vllm_engine_config": (dict,),
    "environment": (dict,),
}
_WORDS: dict[str, type[StrEnum]] = {"mode": Mode, "on_error": OnError}


def _read(section: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    values: dict[str, Any] = {}
    mistakes: list[str] = []
    known = [one.name for one in fields(GuardPolicy) if one.name in _KINDS]
    for key, value in section.items():
        where = f"handler.guard.{key}"
        if key not in known:
            mistakes.append(f"{where} is not a known key{nearest(str(key), known)}")
        elif value is None:
            continue
        elif not _is(value, _KINDS[key]):
            names = " or ".join(kind.__name__ for kind in _KINDS[key])
            mistakes.append(f"{where} must be {names}, not {type(value).__name__}")
        elif key in _WORDS:
            words = [str(word) for word in _WORDS[key]]
            if value in words:
                values[key] = _WORDS[key](value)
            else:
                mistakes.append(f"{where} is {value!r}{nearest(value, words)}; {_one_of(words)}")
        elif key == "stages":
            values[key] = tuple(value)
        elif key == "categories":
            found, thresholds = _categories(value, mistakes)
            values |= {"categories": found, "thresholds": thresholds}
        else:
            values[key] = value
    mistakes += _bounds(values)
    return values, mistakes


def _is(value: object, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, kinds)


def _one_of(words: Iterable[str]) -> str:
    return f"one of {', '.join(words)}"


def _bounds(values: Mapping[str, Any]) -> Iterable[str]:
    if not 0 <= values.get("threshold", 0.5) <= 1:
        yield "handler.guard.threshold is a probability: write 0 to 1"
    if values.get("window_tokens", 1) < 1:
        yield "handler.guard.window_tokens must be 1 or more"
    if not 0 < values.get("timeout_seconds", 1) <= _LONGEST_SECONDS:
        yield f"handler.guard.timeout_seconds must be over 0, and {_LONGEST_SECONDS} at most"
    if not _URL.match(values.get("url", "http://guard")):
        yield "handler.guard.url must begin with http:// or https://"
    if not values.get("categories", LLAMA_GUARD_3):
        yield "handler.guard.categories turns every category off: the guard would guard nothing"
    for stage in values.get("stages", STAGES):
        if stage not in STAGES:
            yield f"handler.guard.stages: {stage!r}{nearest(str(stage), STAGES)}; {_one_of(STAGES)}"
    if not values.get("stages", STAGES):
        yield "handler.guard.stages is empty: the guard would guard nothing"
    for name, value in values.get("environment", {}).items():
        if not isinstance(value, str):
            yield f'handler.guard.environment.{name} must be a string: write {name}: "{value}"'
    if not values.get("refusal", REFUSAL).strip():
        yield "handler.guard.refusal is empty: write what to say"


def _categories(
    section: Mapping[str, Any], mistakes: list[str]
) -> tuple[tuple[Category, ...], dict[str, float]]:
    """`{S5: false, S1: {threshold: 0.3}, S20: {name: …, description: …}}`."""
    chosen = {one.code: one for one in LLAMA_GUARD_3}
    thresholds: dict[str, float] = {}
    for code, value in section.items():
        where = f"handler.guard.categories.{code}"
        if not isinstance(code, str) or not _CODE.fullmatch(code):
            mistakes.append(f"{where}: a category is S and a number, as S1")
        elif value is False:
            if chosen.pop(code, None) is None:
                mistakes.append(f"{where} is no category to turn off; {_one_of(chosen)}")
        elif value is True:
            if code not in chosen:
                mistakes.append(f"{where} is no category to turn on; {_one_of(chosen)}")
        elif isinstance(value, dict):
            _category(code, value, where, chosen, thresholds, mistakes)
        else:
            mistakes.append(f"{where}: write true, false or {{threshold: …}}")
    ordered = sorted(chosen.values(), key=lambda one: int(one.code[1:]))
    return tuple(ordered), thresholds


def _category(
    code: str,
    value: Mapping[str, Any],
    where: str,
    chosen: dict[str, Category],
    thresholds: dict[str, float],
    mistakes: list[str],
) -> None:
    for key in value:
        if key not in _CATEGORY_KEYS:
            mistakes.append(f"{where}.{key} is not a known key{nearest(str(key), _CATEGORY_KEYS)}")
    threshold = value.get("threshold")
    if threshold is not None:
        if _is(threshold, (int, float)) and 0 <= threshold <= 1:
            thresholds[code] = float(threshold)
        else:
            mistakes.append(f"{where}.threshold is a probability: write 0 to 1")
    name, description = value.get("name"), value.get("description")
    for key, text in (("name", name), ("description", description)):
        if text is not None and not (isinstance(text, str) and text.strip()):
            mistakes.append(f"{where}.{key} must be a text")
            return
    if not isinstance(value.get("enabled", True), bool):
        mistakes.append(f"{where}.enabled must be true or false")
    elif not value.get("enabled", True):
        chosen.pop(code, None)
    elif code in chosen:
        chosen[code] = Category(code, name or chosen[code].name, description)
    elif name and description:
        chosen[code] = Category(code, name, description)
    else:
        mistakes.append(f"{where} is a category of your own: it needs a name and a description")
