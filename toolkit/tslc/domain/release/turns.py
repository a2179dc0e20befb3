"""Whose turn it is to go without a model for a while: one node after the other, by name.

Only for the strategy `recreate`. Nodes agree without talking: each looks at the others' reports.
"""

from __future__ import annotations

from collections.abc import Iterable

from tslc.domain.release.report import Reported


def waits_for(node: str, model: str, generation: int, reported: Iterable[Reported]) -> str | None:
    """The node that comes first and has not come to this generation's split yet; None: it is this
    node's turn. One that is not live is passed over: it can't be waited for."""
    earlier = [one.report for one in reported if one.live and one.report.node < node]
    for report in sorted(earlier, key=lambda one: one.node):
        told = report.models.get(model)
        if report.generation < generation or told is None or not told.as_desired:
            return report.node
    return None
