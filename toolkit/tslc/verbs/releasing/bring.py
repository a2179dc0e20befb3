"""The first steps of a release from a spec: build the version, and push it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tslc.adapters.s3_store import S3Store
from tslc.verbs.build import BuildPlan, BuildRequest, BuildResult, build, plan_build
from tslc.verbs.progress import Progress
from tslc.verbs.push import Pushed, Sign, push
from tslc.verbs.push_archive import archive_source


@dataclass(frozen=True)
class Brought:
    built: BuildResult
    pushed: Pushed


def plan_bring(spec: Path, version: str, out: Path, environ: Mapping[str, str]) -> BuildPlan:
    """Raises BadFile with every mistake of the spec."""
    return plan_build(BuildRequest(spec, version, out), environ)


def bring(
    plan: BuildPlan,
    store: S3Store,
    sign: Sign | None,
    environ: Mapping[str, str],
    progress: Progress = lambda done, total: None,
) -> Brought:
    """Doing it again is doing it once: the same content is built and pushed already.

    Raises Refused where the version exists with other content.
    """
    built = build(plan, environ)
    source = archive_source(built.archive, None, environ)
    return Brought(built, push(store, source, sign=sign, progress=progress))
