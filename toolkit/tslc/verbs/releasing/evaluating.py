"""What a release asks a version before its first user."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from tslc.adapters.s3_store import S3Store
from tslc.domain.evaluation import EvalGates, Prompts, failures, figures
from tslc.domain.golden import parse_golden
from tslc.domain.releasing.document import Release
from tslc.domain.releasing.plan_file import CURRENT, Evaluating, ReleasePlan
from tslc.errors import BadInput, NotRunning
from tslc.verbs.evaluate import (
    Candidate,
    at_node,
    evaluate,
    golden_in_store,
    prompts_of,
    through_router,
)
from tslc.verbs.releasing.go_on import Evaluated
from tslc.verbs.running_node import open_node

MOST_DATA = 1_000_000
_PARALLEL = 4


def read_data(plan: ReleasePlan, folder: Path) -> dict[str, str]:
    """The plan's files of prompts, each of them checked: the release takes them along.

    Raises BadInput for one that can't be read, or has mistakes, or for too much of them.
    """
    found: dict[str, str] = {}
    for name in plan.evaluate.data if plan.evaluate else ():
        path = folder / name
        try:
            found[name] = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "not UTF-8"
            raise BadInput(f"evaluate.data: {path} can't be read: {why}") from None
        parse_golden(found[name], str(path))
    if (size := sum(map(len, found.values()))) > MOST_DATA:
        raise BadInput(
            f"evaluate.data: {size:,} characters, a release takes {MOST_DATA:,} along",
            hint="ask the rest with tslc eval",
        )
    return found


@dataclass(frozen=True)
class Evaluator:
    """Asks through a router at `url`, or else the workers of the node on this machine."""

    store: S3Store
    home: Path
    node_name: str
    url: str | None = None
    api_key: str | None = None
    report: Callable[[int, int], None] = lambda done, total: None

    def __call__(self, release: Release) -> Evaluated:
        """Raises BadInput, NotRunning where the version can't be asked."""
        plan = release.plan.evaluate or Evaluating()
        other = _against(plan, release)
        golden = golden_in_store(self.store, release.model, release.version)
        data = [Prompts(name, parse_golden(text, name)) for name, text in release.data.items()]
        found = evaluate(
            release.model,
            self._candidate(release.model, release.version),
            self._candidate(release.model, other) if other else None,
            prompts_of(golden, data),
            _PARALLEL,
            self.report,
        )
        gates = plan.gates if other else EvalGates(plan.gates.min_pass)
        summary = {
            "against": other,
            "prompts": len(found.asked),
            "versions": {one: asdict(figures(found, one)) for one in found.versions},
            "failed": [one.name for one in found.failed],
            "regressed": [one.name for one in found.regressed],
            "changed": [one.name for one in found.changed],
        }
        return Evaluated(failures(found, gates), summary)

    def _candidate(self, model: str, version: str) -> Candidate:
        if self.url is not None:
            return through_router(self.url, model, version, self.api_key)
        try:
            return at_node(open_node(self.home, self.node_name), model, version)
        except NotRunning as error:
            hint = "--url URL of a router   # where no node is on this machine"
            raise NotRunning(error.message, hint=hint) from None


def _against(plan: Evaluating, release: Release) -> str | None:
    """None where there is nobody to compare with: the model was not served before."""
    if plan.against != CURRENT:
        return plan.against
    before = release.before or {}
    return max(before, key=lambda one: before[one]) if before else None
