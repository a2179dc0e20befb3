"""`tslc status --env`: what an environment should serve against what its nodes report."""

from __future__ import annotations

from dataclasses import dataclass

from tslc.adapters.environment_objects import EnvironmentObjects
from tslc.adapters.s3_store import S3Store
from tslc.domain.release.report import Phase, Reported
from tslc.domain.release.state import EnvironmentState


@dataclass(frozen=True)
class EnvironmentStatus:
    """`state` of generation 0: nothing was ever wished for. `reported`: by node."""

    state: EnvironmentState
    reported: tuple[Reported, ...]

    @property
    def as_desired(self) -> bool:
        """Whether every live node, of which there is one, serves the desired split."""
        live = [one.report for one in self.reported if one.live]
        return bool(live) and all(
            report.generation == self.state.generation
            and all(
                name in report.models and report.models[name].as_desired
                for name in self.state.models
            )
            for report in live
        )


def environment_status(store: S3Store, environment: str) -> EnvironmentStatus:
    objects = EnvironmentObjects(store, environment)
    found = objects.read_state()
    state = found.state if found else EnvironmentState(environment)
    return EnvironmentStatus(state, objects.reports())


def ready_versions(store: S3Store, environment: str, model: str) -> frozenset[str] | None:
    """Versions of a model that are ready on some live node; None when no live node reports."""
    live = [one.report for one in EnvironmentObjects(store, environment).reports() if one.live]
    if not live:
        return None
    return frozenset(
        version
        for report in live
        if (told := report.models.get(model)) is not None
        for version, seen in told.versions.items()
        if seen.phase is Phase.READY
    )
