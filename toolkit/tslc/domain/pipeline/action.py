"""What an action of the pipeline asks for: its configuration, read; and the job that carries it.

The action type is `Deploy`, owner `Custom`. Its configuration has at most ten keys of at most 1,000
characters, all of them text; a key that is not ours is a mistake, never passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from tslc.domain.archive_name import model_name_problem, version_problem
from tslc.domain.vocabulary import unknown_word
from tslc.errors import BadFile, Mistake

PROVIDER = "tslc-release"
ACTION_VERSION = "1"
KEYS = ("Model", "Environment", "Version", "Plan", "PlanText")
QUERYABLE = "Environment"
"""CodePipeline gives a worker only the jobs of the environment it asks for."""


@dataclass(frozen=True)
class ArtifactPlace:
    name: str
    bucket: str
    key: str


@dataclass(frozen=True)
class ArtifactCredentials:
    """Of the job, for its artifacts alone; they end with the job. Never printed."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    session_token: str = field(repr=False)


@dataclass(frozen=True)
class Job:
    """A job as CodePipeline gives it. `token`: what the job before it left, if there was one.

    `nonce` is None for a job that was looked up by its id.
    """

    id: str
    configuration: Mapping[str, str]
    nonce: str | None = None
    pipeline: str = ""
    execution: str = ""
    token: str | None = None
    inputs: tuple[ArtifactPlace, ...] = ()
    credentials: ArtifactCredentials | None = None


@dataclass(frozen=True)
class ReleaseAction:
    """Which release is wanted, of a version that is in the store. `plan`: a path in the input
    artifact, or else `plan_text`, the plan itself."""

    model: str
    environment: str
    version: str
    plan: str | None = None
    plan_text: str | None = None


def read_action(configuration: Mapping[str, str]) -> ReleaseAction:
    """Raises BadFile with every mistake of the action's configuration."""
    said = {key: value.strip() for key, value in configuration.items() if value.strip()}
    mistakes = [
        unknown_word("configuration", key, KEYS) for key in configuration if key not in KEYS
    ]
    for key in ("Model", "Environment", "Version"):
        if key not in said:
            mistakes.append(Mistake(key, "missing", f"give the action a {key}"))
    if ("Plan" in said) == ("PlanText" in said):
        problem = "both are given" if "Plan" in said else "neither is given"
        mistakes.append(Mistake("Plan, PlanText", problem, "give Plan or PlanText"))
    for key, check in (
        ("Model", model_name_problem),
        ("Environment", model_name_problem),
        ("Version", version_problem),
        ("Plan", _path_problem),
    ):
        if key in said and (found := check(said[key])):
            mistakes.append(Mistake(key, found, f"mend the action's {key}"))
    if mistakes:
        raise BadFile("the action's configuration", mistakes)
    return ReleaseAction(
        model=said["Model"],
        environment=said["Environment"],
        version=said["Version"],
        plan=said.get("Plan"),
        plan_text=said.get("PlanText"),
    )


def _path_problem(path: str) -> str | None:
    """What is wrong with a path in an artifact: it has to stay in there."""
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or "\\" in path or "\0" in path:
        return f"{path!r} leads out of the artifact"
    return None
