"""What an evaluation must come to for a version to go on."""

from __future__ import annotations

from dataclasses import dataclass

from tslc.domain.evaluation.results import Evaluation, figures
from tslc.domain.release.shares import share_text
from tslc.domain.router.table import WHOLE


@dataclass(frozen=True)
class EvalGates:
    """`min_pass`: of all prompts, in hundredths of a percent. `no_regression`: what the other
    version passes must pass, whatever `min_pass` allows. `max_slower`: how much longer the median
    answer may take than the other version's, in hundredths of a percent; None: any time."""

    min_pass: int = WHOLE
    no_regression: bool = False
    max_slower: int | None = None

    @property
    def compares(self) -> bool:
        """Whether another version is needed to judge."""
        return self.no_regression or self.max_slower is not None


def failures(evaluation: Evaluation, gates: EvalGates) -> tuple[str, ...]:
    """Why the version may not go on, a line for each gate; none: it may."""
    ours = figures(evaluation, evaluation.version)
    total = ours.passed + ours.failed
    reasons = []
    if ours.passed * WHOLE < gates.min_pass * total:
        wanted = "all" if gates.min_pass == WHOLE else f"at least {share_text(gates.min_pass)}"
        reasons.append(f"passed {ours.passed} of {total} prompts, {wanted} must")
    if evaluation.against is None:
        return tuple(reasons)
    if gates.no_regression and evaluation.regressed:
        names = ", ".join(one.name for one in evaluation.regressed[:5])
        more = len(evaluation.regressed) - 5
        names += f" and {more} more" if more > 0 else ""
        reasons.append(f"fails what {evaluation.against} passes: {names}")
    if gates.max_slower is not None:
        theirs = figures(evaluation, evaluation.against)
        allowed = theirs.median * (WHOLE + gates.max_slower) / WHOLE
        if ours.median > allowed:
            reasons.append(
                f"the median answer takes {ours.median:.2f} s, {evaluation.against}'s "
                f"{theirs.median:.2f} s: more than {share_text(gates.max_slower)} slower"
            )
    return tuple(reasons)
