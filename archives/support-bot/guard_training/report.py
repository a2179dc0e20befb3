"""Tables of how often the guard was right."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from guard_training.examples import Example
from guard_training.score import Said

Judged = Sequence[tuple[Example, Said]]


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.2f}" if whole else "-"


def _lines(rows: Iterable[Sequence[str]]) -> list[str]:
    first, *rest = rows
    return [_line(first), _line(["---", *["---:"] * (len(first) - 1)]), *map(_line, rest)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def splits(judged: dict[str, Judged]) -> list[str]:
    head = ("split", "unsafe", "safe", "precision", "recall", "F1", "false positives")
    rows: list[Sequence[str]] = [head]
    for name, some in judged.items():
        hits = sum(bool(one.codes) and said.unsafe for one, said in some)
        alarms = sum(not one.codes and said.unsafe for one, said in some)
        unsafe = sum(bool(one.codes) for one, _ in some)
        missed, safe = unsafe - hits, len(some) - unsafe
        f1 = _share(2 * hits, 2 * hits + alarms + missed)
        row = (_share(hits, hits + alarms), _share(hits, unsafe), f1, _share(alarms, safe))
        rows.append((name, str(unsafe), str(safe), *row))
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
