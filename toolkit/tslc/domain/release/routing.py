"""Where a node's traffic goes now: the desired split, as far as it can be had.

Law: no segment names a version that is not ready. Where none of the versions that should have
traffic is ready, those that have it now keep it; where none of these is, any version that was the
stable one before; where there is none at all, there are no segments and the model answers 503.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

from tslc.domain.release.shares import reassign, scaled, shares_of
from tslc.domain.release.state import ModelState
from tslc.domain.router.table import WHOLE, Segment


def effective(
    desired: ModelState, ready: Set[str], current: Sequence[Segment]
) -> tuple[Segment, ...]:
    """`ready`: versions that may get traffic; `current`: the segments in force."""
    if shares := _ready(shares_of(desired.segments), ready):
        return reassign(desired.segments, scaled(shares))
    if shares := _ready(shares_of(current), ready):
        return reassign(current, scaled(shares))
    for version in (desired.stable, desired.previous, *desired.versions):
        shadows = desired.shadow is not None and desired.shadow.version == version
        if version in ready and not shadows:
            return (Segment(str(version), WHOLE),)
    return ()


def _ready(shares: Mapping[str, int], ready: Set[str]) -> dict[str, int]:
    return {version: share for version, share in shares.items() if share and version in ready}


def spare(desired: ModelState, ready: Set[str]) -> tuple[str, ...]:
    """Versions that may answer for one that fails, best first: those with traffic, largest share
    first, then those that had it all before. One that nobody gave traffic to is none of them."""
    shares = {version: share for version, share in desired.shares.items() if share}
    order = sorted(shares, key=lambda one: (-shares[one], one))
    order += [one for one in (desired.stable, desired.previous) if one]
    return tuple(dict.fromkeys(one for one in order if one in ready))
