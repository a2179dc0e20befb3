"""`tslc release`: begin, or take up, and go on; by a person or by a job."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tslc.adapters.clock import Deadline
from tslc.adapters.release_objects import ReleaseObjects
from tslc.adapters.s3_store import S3Store
from tslc.domain.releasing.document import Release
from tslc.domain.releasing.plan_file import ReleasePlan, parse_plan
from tslc.domain.settings import Settings
from tslc.errors import BadInput, Refused
from tslc.verbs.releasing.begin import ReleaseWish, begin
from tslc.verbs.releasing.evaluating import Evaluator, read_data
from tslc.verbs.releasing.go_on import Runner
from tslc.verbs.store_trust import checker

FOREVER = 10 * 365 * 86400.0


@dataclass(frozen=True)
class Releasing:
    """Where releases are gone on with: `home` and `node_name` are the node on this machine; `url`:
    a router to evaluate through, with `api_key`."""

    store: S3Store
    settings: Settings
    home: Path
    node_name: str
    url: str | None = None
    api_key: str | None = None
    say: Callable[[str], None] = lambda _: None
    watch: Callable[[str], None] = lambda _: None

    def go_on(self, wish: ReleaseWish, seconds: float = FOREVER) -> Release:
        """Begin the release, or take it up where it is, and go on until it ends or pauses, for at
        most so many seconds. Raises as `begin` and `Runner.run` do."""
        return self._runner(wish).run(Deadline(seconds))

    def abort(self, wish: ReleaseWish) -> Release:
        """Take back the release that is under way. Raises Refused where there is none."""
        found = ReleaseObjects(self.store, wish.environment).read(wish.model)
        if found is None or found.release.state.ended:
            raise Refused(f"no release of {wish.model} is under way in {wish.environment}")
        why = f": {wish.why}" if wish.why else ""
        return self._runner(wish).take_back(f"aborted by {wish.who}{why}")

    def _runner(self, wish: ReleaseWish) -> Runner:
        evaluator = Evaluator(
            *(self.store, self.home, self.node_name, self.url, self.api_key),
            report=lambda done, total: self.watch(f"{done} of {total} answers"),
        )
        return Runner(
            self.store,
            checker(self.settings),
            self.settings.environment(wish.environment).strategy,
            evaluator,
            begin(self.store, wish),
            self.say,
            self.watch,
        )


def read_plan(path: Path) -> tuple[ReleasePlan, Mapping[str, str]]:
    """A release.yaml, and the files it names. Raises BadInput."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not UTF-8"
        raise BadInput(f"{path} can't be read: {why}", hint="--plan release.yaml") from None
    plan = parse_plan(text, str(path))
    return plan, read_data(plan, path.parent)
