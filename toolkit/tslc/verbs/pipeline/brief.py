"""`tslc pipeline brief`: what a version would change in an environment, and its evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from tslc.adapters.environment_objects import EnvironmentObjects
from tslc.adapters.s3_store import S3Store
from tslc.domain.pipeline import brief
from tslc.verbs.store_access import read_manifest
from tslc.verbs.versions import diff_versions


@dataclass(frozen=True)
class Brief:
    """`served`: the version that is replaced, None for a model's first one."""

    model: str
    version: str
    environment: str
    served: str | None
    full: str
    short: str


def make_brief(
    store: S3Store, environment: str, model: str, version: str, evaluation: str
) -> Brief:
    """Raises NoSuchVersion."""
    read_manifest(store, model, version)
    found = EnvironmentObjects(store, environment).read_state()
    state = found.state.models.get(model) if found else None
    served = state.stable if state else None
    parts = diff_versions(store, model, served, version) if served else ()
    before = f"in place of {served}" if served else "its first version"
    head = f"{model} {version} for {environment}, {before}"
    text = evaluation.strip()
    return Brief(
        model,
        version,
        environment,
        served,
        brief.full(head, parts, text),
        brief.short(head, parts, text),
    )
