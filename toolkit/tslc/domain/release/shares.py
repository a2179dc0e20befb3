"""Shares of the traffic, and how users keep their version when shares change.

The hash of a user falls on one of WHOLE slots. A split is a list of segments that cover them all.
Laws of `reassign`: the result's shares are those asked for; a slot keeps its version unless that
version's share shrank, so no user is moved off a version whose share grew or stayed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import groupby

from tslc.domain.router.table import WHOLE, Segment

_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,2})?)%?")


class WrongShare(ValueError):
    """Not a share; the message says why."""


def read_share(text: str) -> int:
    """`12.5` or `12.5%` as hundredths of a percent; raises WrongShare."""
    match = _PERCENT.fullmatch(text)
    if match is None:
        raise WrongShare(f"{text!r} is not a percentage with at most two decimals")
    share = int(Decimal(match[1]) * 100)
    if share > WHOLE:
        raise WrongShare(f"{text!r} is more than 100%")
    return share


def share_text(share: int) -> str:
    """Law: `read_share(share_text(share)) == share`."""
    return f"{Decimal(share) / 100:f}%" if share % 100 else f"{share // 100}%"


def shares_of(segments: Iterable[Segment]) -> dict[str, int]:
    """Each version's share, in the order in which they first appear."""
    shares: dict[str, int] = {}
    for one in segments:
        shares[one.version] = shares.get(one.version, 0) + one.weight
    return shares


def reassign(segments: Sequence[Segment], shares: Mapping[str, int]) -> tuple[Segment, ...]:
    """The slots of `segments` given to `shares`, which sum to WHOLE (no segments: any slots).

    A version that shrinks gives its slots up from the side on which it last grew: the first one of
    the ring from its end, the others from their beginning. So 10% → 50% → 10% ends where it began.
    """
    if not segments:
        return tuple(Segment(version, share) for version, share in shares.items() if share)
    before = shares_of(segments)
    leave = {version: max(0, held - shares.get(version, 0)) for version, held in before.items()}
    grow = {
        version: share - before.get(version, 0)
        for version, share in shares.items()
        if share > before.get(version, 0)
    }
    pieces = _give_up(segments, leave)
    return _merged(_taken(pieces, grow))


def _give_up(segments: Sequence[Segment], leave: Mapping[str, int]) -> list[tuple[str | None, int]]:
    """(version or None for free slots, slots), in the order of the ring."""
    left = dict(leave)
    first = segments[0].version
    pieces: list[list[tuple[str | None, int]]] = [[] for _ in segments]
    order = [i for i, one in enumerate(segments) if one.version != first]
    order += [i for i in reversed(range(len(segments))) if segments[i].version == first]
    for i in order:
        one = segments[i]
        gone = min(one.weight, left[one.version])
        left[one.version] -= gone
        kept = one.weight - gone
        parts: list[tuple[str | None, int]] = [(None, gone), (one.version, kept)]
        pieces[i] = parts[::-1] if one.version == first else parts
    return [piece for parts in pieces for piece in parts if piece[1]]


def _taken(pieces: Sequence[tuple[str | None, int]], grow: Mapping[str, int]) -> list[Segment]:
    wanted = dict(sorted(grow.items()))
    taken: list[Segment] = []
    for index, (version, size) in enumerate(pieces):
        if version is not None:
            taken.append(Segment(version, size))
            continue
        following = next((after for after, _ in pieces[index + 1 :] if after), None)
        # Last the one that stands behind: the segments stay few.
        names = [name for name in wanted if name != following]
        names += [following] if following in wanted else []
        for name in names:
            part = min(size, wanted[name])
            if part:
                taken.append(Segment(name, part))
                wanted[name] -= part
                size -= part
    return taken


def _merged(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    return tuple(
        Segment(version, sum(one.weight for one in group))
        for version, group in groupby(segments, key=lambda one: one.version)
    )


def scaled(shares: Mapping[str, int]) -> dict[str, int]:
    """The same proportions with the sum WHOLE, by the largest remainder (Hamilton's method).

    Raises ValueError when all are 0.
    """
    total = sum(shares.values())
    if total <= 0:
        raise ValueError("nothing to scale")
    exact = {version: divmod(share * WHOLE, total) for version, share in shares.items()}
    found = {version: quotient for version, (quotient, _) in exact.items()}
    missing = WHOLE - sum(found.values())
    for version in sorted(exact, key=lambda one: (-exact[one][1], one))[:missing]:
        found[version] += 1
    return found
