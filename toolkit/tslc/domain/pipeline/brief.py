"""What the approver is shown: what would change, and what the evaluation said.

CodePipeline shows at most 1,000 characters, and one line is safest in the variable that leads
there; the whole text lies in the build's artifact and log.
"""

from __future__ import annotations

from tslc.domain.version_diff import PartDiff

MOST_SHORT = 900
_MOST_CHANGE = 100
_MOST_EVALUATION = 400


def full(head: str, parts: tuple[PartDiff, ...], evaluation: str) -> str:
    lines = [head, ""]
    for part in parts:
        lines.append(f"{part.part}: {len(part.changes)} changed, {part.same} not")
        lines += [f"  {one.what}: {one.before} -> {one.after}" for one in part.changes]
    if evaluation:
        lines += ["", "evaluation", evaluation]
    return "\n".join(lines) + "\n"


def short(head: str, parts: tuple[PartDiff, ...], evaluation: str) -> str:
    """One line of at most MOST_SHORT characters: the parts that change, the evaluation's end."""
    said = [head]
    for part in parts:
        if part.changes:
            what = ", ".join(one.what for one in part.changes)
            said.append(f"{part.part}: {_cut(what, _MOST_CHANGE)}")
    if parts and not any(part.changes for part in parts):
        said.append("nothing changes")
    if evaluation:
        last = " / ".join(line.strip() for line in evaluation.splitlines() if line.strip())
        said.append(f"evaluation: {last[-_MOST_EVALUATION:]}")
    return _cut("; ".join(" ".join(one.split()) for one in said), MOST_SHORT)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
