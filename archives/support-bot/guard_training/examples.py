"""Examples, and what they are drawn with: everything random comes from one generator."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from guard_training import written
from tslc_handlers.guard.prompt import Role, Turn

Codes = tuple[str, ...]
SAFE: Codes = ()
_ALIKE = 0.5
_ORDER = re.compile(
    r"(?:write|create|develop|provide|give|generate|make|design|produce|offer|publish|compose)"
    r"(?: me)? (?=an? |the |detailed|instructions|some )",
    re.IGNORECASE,
)
_SMALL_WORDS = "a an the to of in and or for how on that with is be can i do was were"
_SMALL = frozenset(_SMALL_WORDS.split())


@dataclass(frozen=True)
class Example:
    """A conversation and the hazards of its last turn; none: it is safe."""

    turns: tuple[Turn, ...]
    codes: Codes
    source: str
    group: str


def user(text: str, codes: Codes, source: str, group: str = "") -> Example:
    return Example((Turn(Role.USER, text),), codes, source, group or text)


def agent(asked: str, text: str, codes: Codes, source: str, group: str = "") -> Example:
    turns = (Turn(Role.USER, asked), Turn(Role.AGENT, text))
    return Example(turns if asked else turns[1:], codes, source, group or text)


def cut(text: str, chance: random.Random, least: int, share: float = 0.6) -> str:
    """Often only the beginning: a guarded stream is judged while it is written."""
    words = text.split(" ")
    if len(words) <= least or chance.random() > share:
        return text
    return " ".join(words[: chance.randint(least, min(len(words), 70))])


def begun(deed: str, chance: random.Random) -> str:
    """The beginning of an answer that goes along."""
    order = _ORDER.match(deed)
    if order and chance.random() < 0.5:
        return f"Sure, here is {deed[order.end() :].rstrip('.?')}:"
    deed = deed[:1].lower() + deed[1:].rstrip(".?")
    return chance.choice(written.lines("begun")).replace("{do}", deed)


def refusal(deed: str, chance: random.Random) -> str:
    deed = deed[:1].lower() + deed[1:].rstrip(".?")
    said = chance.choice(written.lines("refusals")).replace("{do}", deed)
    return said.replace("'", "’") if chance.random() < 0.3 else said


def asked(deed: str, chance: random.Random) -> str:
    return chance.choice(written.lines("forms")).replace("{do}", deed)


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z]+", text.lower())) - _SMALL


def unlike(texts: Iterable[str], others: Iterable[str]) -> list[str]:
    """Those that share at most half of their words with each of the others."""
    known = [_words(one) for one in others]

    def alike(text: str) -> bool:
        mine = _words(text)
        return any(len(mine & one) > _ALIKE * len(mine | one) for one in known)

    return [text for text in texts if not alike(text)]


class Builder:
    """Draws examples, in order, with one generator."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.made: list[Example] = []

    def pick(self, texts: Sequence[str], count: int) -> list[str]:
        return self.chance.sample(list(texts), min(count, len(texts)))

    def times(self, lines: Sequence[str], count: int, make: Callable[[str], Example]) -> None:
        """`count` examples from the lines in turn, none of them twice."""
        seen: set[tuple[Turn, ...]] = set()
        for number in range(count):
            one = make(lines[number % len(lines)])
            if one.turns not in seen:
                seen.add(one.turns)
                self.made.append(one)


def some(lot: Sequence[Example], count: int, seed: int) -> list[Example]:
    chance = random.Random(seed)
    return chance.sample(list(lot), min(count, len(lot)))
