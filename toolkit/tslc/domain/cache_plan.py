"""Which contents a cache gives up: the least recently used, and none that is in use."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class CachedContent:
    """`used`: seconds since 1970; `linked`: a version on disk holds it too."""

    sha256: str
    size: int
    used: float
    linked: bool = False


def plan_eviction(
    contents: Iterable[CachedContent], leased: Collection[str], max_size: int
) -> tuple[CachedContent, ...]:
    """What goes, the longest unused first, until the rest fits into `max_size` bytes.

    What is leased or linked stays even if the rest then does not fit.
    """
    present = list(contents)
    over = sum(one.size for one in present) - max_size
    free = (one for one in present if not one.linked and one.sha256 not in leased)
    going = []
    for one in sorted(free, key=lambda one: (one.used, one.sha256)):
        if over <= 0:
            break
        going.append(one)
        over -= one.size
    return tuple(going)
