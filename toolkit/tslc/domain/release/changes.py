"""The changes a person can make to what an environment serves: split, promote, rollback, retire.

Each takes a model's state and gives the next one, or refuses; none asks the store or a node. Law:
whatever was done, a rollback to any version that is loaded is possible in one step.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace

from tslc.domain.release.shares import WrongShare, read_share, reassign, scaled, share_text
from tslc.domain.release.state import ModelState, Strategy
from tslc.domain.release.sticky import parse_sticky
from tslc.domain.router.table import WHOLE, Segment, Shadow, Sticky
from tslc.domain.vocabulary import nearest
from tslc.errors import BadFile, BadInput, Mistake, Refused


@dataclass(frozen=True)
class SplitWish:
    """What `tslc split` was told. `sticky` and `shadow` None: as they are.

    `no_sticky`, `no_shadow`: none from now on.
    """

    shares: Mapping[str, int]
    sticky: Sticky | None = None
    shadow: Shadow | None = None
    no_sticky: bool = False
    no_shadow: bool = False


def read_split(
    shares: Sequence[str],
    sticky: str | None = None,
    shadow: str | None = None,
    *,
    no_sticky: bool = False,
    no_shadow: bool = False,
) -> SplitWish:
    """From `1.0.0=90 1.1.0=10`, `header:NAME` and `1.2.0=5%`; raises BadFile with every mistake."""
    mistakes: list[Mistake] = []
    found: dict[str, int] = {}
    for text in shares:
        named = _read_pair(text, mistakes)
        if named is None:
            continue
        if named[0] in found:
            fix = "name each version once"
            mistakes.append(Mistake(text, f"{named[0]} has a share already", fix))
        found[named[0]] = named[1]
    total = sum(found.values())
    if not mistakes and total != WHOLE:
        parts = " + ".join(share_text(share) for share in found.values())
        problem = f"{parts} is {share_text(total)}, not 100%"
        mistakes.append(Mistake("the shares", problem, "make them add up to 100"))
    by = parse_sticky(sticky) if sticky is not None else None
    if sticky is not None and by is None:
        fix = "write header:NAME or cookie:NAME, such as header:x-user-id"
        mistakes.append(Mistake("--sticky", f"{sticky!r} tells no users apart", fix))
    copied = _read_pair(shadow, mistakes, "--shadow ") if shadow is not None else None
    if mistakes:
        raise BadFile("the split", mistakes)
    shadowed = Shadow(*copied) if copied else None
    return SplitWish(found, by, shadowed, no_sticky, no_shadow)


def _read_pair(text: str, mistakes: list[Mistake], flag: str = "") -> tuple[str, int] | None:
    version, equals, share = text.rpartition("=")
    if not equals or not version:
        fix = "write VERSION=PERCENT, such as 1.0.0=90"
        mistakes.append(Mistake(f"{flag}{text}", "no version with its share", fix))
        return None
    try:
        return version, read_share(share)
    except WrongShare as wrong:
        fix = "write a number from 0 to 100, such as 12.5"
        mistakes.append(Mistake(f"{flag}{text}", str(wrong), fix))
        return None


def split(before: ModelState | None, wish: SplitWish, strategy: Strategy) -> ModelState:
    """Divide the traffic among the versions named; the others keep none, and what is not named is
    loaded no longer, except the version a rollback goes back to.

    A version with the share 0 is loaded and gets no traffic.
    """
    sticky = None if wish.no_sticky else wish.sticky or (before.sticky if before else None)
    shadow = None if wish.no_shadow else wish.shadow or (before.shadow if before else None)
    if shadow is not None and wish.shares.get(shadow.version):
        raise Refused(
            f"{shadow.version} can't be the shadow of itself: it has "
            f"{share_text(wish.shares[shadow.version])} of the traffic",
            hint="--no-shadow, or name another version with --shadow",
        )
    segments = reassign(before.segments if before else (), dict(wish.shares))
    stable, previous = _settled(before, segments)
    kept = [*wish.shares, *([shadow.version] if shadow else [])]
    if strategy is Strategy.WARM:
        kept += [one for one in (stable, previous) if one and before and one in before.versions]
    return ModelState(
        tuple(dict.fromkeys(kept)), segments, stable, previous, sticky, shadow, strategy
    )


def _settled(
    before: ModelState | None, segments: Sequence[Segment]
) -> tuple[str | None, str | None]:
    """(stable, previous) once `segments` are in force: they change when one has everything."""
    stable, previous = (before.stable, before.previous) if before else (None, None)
    if len({one.version for one in segments}) != 1 or segments[0].version == stable:
        return stable, previous
    return segments[0].version, stable


def promote(before: ModelState | None, version: str, strategy: Strategy) -> ModelState:
    """All traffic to one version. Warm, the stable version before it stays loaded."""
    return split(before, _all_to(before, version), strategy)


def _all_to(before: ModelState | None, version: str) -> SplitWish:
    """A version that was the shadow is it no longer."""
    return SplitWish({version: WHOLE}, no_shadow=before is not None and _shadows(before, version))


def _shadows(state: ModelState, version: str) -> bool:
    return state.shadow is not None and state.shadow.version == version


def rollback(
    model: str, before: ModelState | None, to: str | None, *, loaded: Container[str] | None = None
) -> ModelState:
    """All traffic back to the stable version, or, when it has it, to the one before.

    What was rolled back from is no target of a second rollback: it was bad. It stays loaded where
    it is (`loaded`: versions that are ready on some node; None: nobody knows), without traffic, for
    whoever looks into it; one that never came up is not tried any more.
    Raises Refused when there is nothing to go back to.
    """
    if before is None:
        raise BadInput(f"{model} is not served", hint=f"tslc promote {model} VERSION")
    target = to or _way_back(model, before)
    after = split(before, _all_to(before, target), before.strategy)
    if target != before.stable:
        after = replace(after, previous=None)
    if before.strategy is Strategy.WARM:
        shadow = after.shadow.version if after.shadow else None
        kept = tuple(
            one
            for one in after.versions
            if loaded is None or one in (target, shadow) or one in loaded
        )
        return replace(after, versions=kept)
    return replace(after, versions=(target,), shadow=None)


def _way_back(model: str, before: ModelState) -> str:
    at_stable = before.shares.get(before.stable or "") == WHOLE
    target = before.previous if at_stable else before.stable
    if target is not None:
        return target
    others = [version for version in before.versions if before.shares[version] < WHOLE]
    hint = f"tslc rollback {model} --to {others[0] if others else 'VERSION'}"
    if at_stable:
        message = f"{model} {before.stable} has all traffic, and no version before it is known"
    else:
        message = f"no version of {model} had all traffic before"
    raise Refused(message, hint=hint)


def retire(
    model: str, before: ModelState | None, version: str, *, force: bool
) -> ModelState | None:
    """Unload a version. None: the model is served no longer.

    Raises Refused for one with traffic, unless forced: then its share goes to the others in
    proportion, and the last one takes the model with it.
    """
    if before is None or version not in before.versions:
        raise _unknown(model, before, version)
    share = before.shares[version]
    shadow = None if _shadows(before, version) else before.shadow
    if not force and (share or shadow is not before.shadow):
        what = f"{share_text(share)} of the traffic" if share else "the shadow traffic"
        others = [one for one in before.versions if one != version]
        then = f"tslc promote {model} {others[0]}" if others else "--force to stop serving it"
        raise Refused(f"{model} {version} has {what}", hint=f"{then}   # then retire it")
    left = {one: weight for one, weight in before.shares.items() if one != version}
    if not any(left.values()):
        return None
    segments = reassign(before.segments, scaled({k: v for k, v in left.items() if v}))
    stable, previous = _settled(before, segments)
    return replace(
        before,
        versions=tuple(left),
        segments=segments,
        stable=stable if stable in left else None,
        previous=previous if previous in left else None,
        shadow=shadow,
    )


def _unknown(model: str, before: ModelState | None, version: str) -> BadInput:
    if before is None:
        return BadInput(f"{model} is not served here", hint="tslc status --env ENV")
    near = nearest(version, before.versions)
    known = ", ".join(before.versions)
    hint = f"tslc retire {model} {near}" if near else "tslc status --env ENV"
    return BadInput(f"{model} {version} is not loaded here, only {known}", hint=hint)


def words_of(before: ModelState | None, after: ModelState | None) -> tuple[str, ...]:
    """What changes from one state of a model to another, a line each."""
    if after is None:
        return ("it is served no longer",)
    lines = []
    was, now = before.shares if before else {}, after.shares
    for version in dict.fromkeys((*was, *now)):
        old, new = was.get(version), now.get(version)
        if old == new:
            continue
        lines.append(f"{version}: {_place(old)} → {_place(new)}")
    if (before.sticky if before else None) != after.sticky:
        lines.append(f"sticky by {after.sticky}" if after.sticky else "not sticky any more")
    if (before.shadow if before else None) != after.shadow:
        copied = after.shadow
        lines.append(
            f"{share_text(copied.share)} copied to {copied.version}" if copied else "no shadow"
        )
    if (before.strategy if before else Strategy.WARM) is not after.strategy:
        lines.append(f"strategy {after.strategy}")
    return tuple(lines)


def _place(share: int | None) -> str:
    if share is None:
        return "not loaded"
    return share_text(share) if share else "loaded, no traffic"
