"""What Llama Guard answered: `safe`, or `unsafe` and the categories, with how sure it was.

The score is the probability of "unsafe" as the answer's first word (Llama Guard's model card), out
of the tokens' log probabilities. What can't be read is Unreadable: never a yes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Between the two words they must hold at least this much of the probability: a model that would
# rather have said something else has not judged.
_LEAST_MASS = 0.5
# More than this is no logarithm of a probability.
_ROUNDING = 1e-3
_CODES = re.compile(r"S\d{1,3}(?:\s*,\s*S\d{1,3})*", re.ASCII)
# The token that ends a turn is among the tokens of log probabilities.
_END = re.compile(r"(?:<\|[^|<>\s]{1,64}\|>|</s>|<eos>|<end_of_turn>)\s*$")


@dataclass(frozen=True)
class Token:
    """A generated token and, by text, the log probabilities of the likeliest at its place."""

    text: str
    top: Mapping[str, float]


class Unreadable(Exception):
    """The guard's answer is not one."""


@dataclass(frozen=True)
class Reading:
    """`score`: the probability of "unsafe", 0 to 1. `codes`: the categories named. `more`: it said
    something beside them, or was cut short."""

    unsafe: bool
    score: float
    codes: tuple[str, ...] = ()
    more: bool = False


def read_answer(tokens: Sequence[Token], limit: int) -> Reading:
    """`limit`: how many tokens it could have. Raises Unreadable."""
    text = text_of(tokens)
    first, _, rest = text.strip().partition("\n")
    word = first.strip()
    if word not in ("safe", "unsafe") or (word == "safe" and rest.strip()):
        raise Unreadable(f"the guard answered {text[:60]!r}")
    score = _score(tokens)
    if word == "safe":
        return Reading(False, score)
    codes, more = read_codes(tokens, rest, limit)
    return Reading(True, score, codes, more)


def read_codes(tokens: Sequence[Token], line: str, limit: int) -> tuple[tuple[str, ...], bool]:
    """The categories of an answer's second line, and whether there was, or may have been, more.

    `tokens` are the whole answer's: as many as it could have, and the list may go on.
    """
    found = _CODES.match(line.strip())
    codes = tuple(dict.fromkeys(re.findall(r"S\d+", found[0]))) if found else ()
    whole = found is not None and found[0] == line.strip()
    return codes, not whole or len(tokens) >= limit


def text_of(tokens: Sequence[Token]) -> str:
    """What an answer says, without the token that ends it."""
    return _END.sub("", "".join(token.text for token in tokens))


def _score(tokens: Sequence[Token]) -> float:
    place = next((token for token in tokens if token.text.strip()), None)
    safe = unsafe = 0.0
    for text, logprob in (place.top if place else {}).items():
        begun = text.strip()
        if not begun or math.isnan(logprob) or logprob > _ROUNDING:
            continue
        if "unsafe".startswith(begun):
            unsafe += math.exp(logprob)
        elif "safe".startswith(begun):
            safe += math.exp(logprob)
    if safe + unsafe < _LEAST_MASS:
        raise Unreadable("the guard gave no probabilities of 'safe' and 'unsafe'")
    return unsafe / (safe + unsafe)
