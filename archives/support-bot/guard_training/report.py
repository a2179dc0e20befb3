"""Tables of how often the guard was right."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from guard_training.examples import Example
from guard_training.score import Said
from tslc_handlers.guard.prompt import Role

Judged = Sequence[tuple[Example, Said]]


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.2f}" if whole else "-"


def _lines(rows: Iterable[Sequence[str]]) -> list[str]:
    first, *rest = rows
    return [_line(first), _line(["---", *["---:"] * (len(first) - 1)]), *map(_line, rest)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _split(name: str, some: Judged) -> Sequence[str]:
    hits = sum(bool(one.codes) and said.unsafe for one, said in some)
    alarms = sum(not one.codes and said.unsafe for one, said in some)
    unsafe = sum(bool(one.codes) for one, _ in some)
    missed, safe = unsafe - hits, len(some) - unsafe
    f1 = _share(2 * hits, 2 * hits + alarms + missed)
    shares = (_share(hits, hits + alarms), _share(hits, unsafe), f1, _share(alarms, safe))
    return (name, str(unsafe), str(safe), *shares)


def splits(judged: dict[str, Judged]) -> list[str]:
    head = ("split", "unsafe", "safe", "precision", "recall", "F1", "false positives")
    rows: list[Sequence[str]] = [head]
    for name, some in judged.items():
        rows.append(_split(name, some))
        for role in Role:
            mine = [(one, said) for one, said in some if one.turns[-1].role is role]
            rows.append(_split(f"{name}: {role}", mine))
    return _lines(rows)


def sources(some: Judged) -> list[str]:
    """By source: how many were flagged."""
    counts: dict[tuple[str, str, str], list[bool]] = defaultdict(list)
    for one, said in some:
        label = "unsafe" if one.codes else "safe"
        counts[label, one.source, str(one.turns[-1].role)].append(said.unsafe)
    rows: list[Sequence[str]] = [("flagged", "of", "label", "role", "source")]
    rows += [
        (str(sum(flags)), str(len(flags)), label, role, source)
        for (label, source, role), flags in sorted(counts.items())
    ]
    return _lines(rows)


def categories(some: Judged, codes: Iterable[str]) -> list[str]:
    rows: list[Sequence[str]] = [("category", "examples", "named", "precision", "recall")]
    for code in codes:
        true = sum(code in one.codes for one, _ in some)
        named = sum(code in said.codes for _, said in some)
        both = sum(code in one.codes and code in said.codes for one, said in some)
        rows.append((code, str(true), str(named), _share(both, named), _share(both, true)))
    return _lines(rows)
