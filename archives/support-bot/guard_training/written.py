"""Our own sentences: the lines of texts/*.txt, with every {name} filled from texts/slots.txt.

A line that begins with "# " is about the file; \\n in a line begins another.
"""

from __future__ import annotations

import random
import re
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent / "texts"
_HOLE = re.compile(r"\{(\w+)\}")


@cache
def lines(name: str) -> tuple[str, ...]:
    text = (_FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    kept = (line for line in text.splitlines() if line and not line.startswith("# "))
    return tuple(line.replace("\\n", "\n") for line in kept)


@cache
def _slots() -> dict[str, tuple[str, ...]]:
    pairs = (line.partition(": ") for line in lines("slots"))
    return {name: tuple(one.strip() for one in values.split("|")) for name, _, values in pairs}


def filled(line: str, chance: random.Random) -> str:
    """A name that occurs twice gets one value; names that are no slots stay."""
    chosen: dict[str, str] = {}

    def value(hole: re.Match[str]) -> str:
        name = hole[1]
        if name not in _slots():
            return hole[0]
        return chosen.setdefault(name, chance.choice(_slots()[name]))

    return _HOLE.sub(value, line)


def said(line: str) -> tuple[str, str]:
    """A line of said.txt: what is said, and what is answered ("" for nothing)."""
    question, _, answer = line.partition(" => ")
    return question, answer


def unsafe_deed(line: str) -> tuple[tuple[str, ...], str]:
    """A line of do_unsafe.txt: the hazards, and what is done."""
    codes, _, deed = line.partition(": ")
    return tuple(codes.split(",")), deed
