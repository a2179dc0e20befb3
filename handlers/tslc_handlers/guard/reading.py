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
_CODES = re.compile(r"\s*(S\d{1,3}(?:\s*,\s*S\d{1,3})*)\s*,?\s*", re.ASCII)


@dataclass(frozen=True)
class Token:
    """A generated token and, by text, the log probabilities of the likeliest at its place."""

    text: str
    top: Mapping[str, float]


class Unreadable(Exception):
    """The guard's answer is not one."""


@dataclass(frozen=True)
class Reading:
    """`score`: the probability of "unsafe", 0 to 1. `codes`: the categories named."""

    unsafe: bool
    score: float
    codes: tuple[str, ...] = ()


def read_answer(tokens: Sequence[Token]) -> Reading:
    """Raises Unreadable."""
    text = "".join(token.text for token in tokens)
    first, _, rest = text.strip().partition("\n")
    word = first.strip()
    if word not in ("safe", "unsafe"):
        raise Unreadable(f"the guard answered {text[:60]!r}")
    score = _score(tokens)
    if word == "safe":
        return Reading(False, score)
    return Reading(True, score, read_codes(rest))


def read_codes(line: str) -> tuple[str, ...]:
    """The categories of an answer's second line; none when it is anything else."""
    found = _CODES.match(line)
    if found is None:
        return ()
    return tuple(dict.fromkeys(re.findall(r"S\d+", found[1])))


def _score(tokens: Sequence[Token]) -> float:
    place = next((token for token in tokens if token.text.strip()), None)
    safe = unsafe = 0.0
    for text, logprob in (place.top if place else {}).items():
        begun = text.strip()
        if not begun or math.isnan(logprob):
            continue
        if "unsafe".startswith(begun):
            unsafe += math.exp(min(logprob, 0.0))
        elif "safe".startswith(begun):
            safe += math.exp(min(logprob, 0.0))
    if safe + unsafe < _LEAST_MASS:
        raise Unreadable("the guard gave no probabilities of 'safe' and 'unsafe'")
    return unsafe / (safe + unsafe)
