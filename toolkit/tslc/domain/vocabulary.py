"""The nearest valid word to a wrong one, and the mistake that names it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from tslc.errors import Mistake


def nearest(word: str, valid: Iterable[str]) -> str | None:
    """The valid word most like `word`, or None when none is alike."""
    found = difflib.get_close_matches(word, list(valid), n=1, cutoff=0.5)
    return found[0] if found else None


def unknown_word(where: str, word: str, valid: Iterable[str]) -> Mistake:
    """An unknown key is never a default: it is a mistake that names the nearest valid one."""
    words = list(valid)
    near = nearest(word, words)
    fix = f"write '{near}'" if near else f"one of: {', '.join(words)}"
    return Mistake(where, f"unknown key '{word}'", fix)
