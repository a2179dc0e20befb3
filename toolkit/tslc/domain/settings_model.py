"""The settings as values: what the store is, where the cache lies, whom an environment trusts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Generic, TypeVar

from tslc.domain.release.state import Strategy
from tslc.domain.settings_pipeline import PipelineSettings
from tslc.domain.settings_values import EncryptionType, LocalStore, StoreUrl
from tslc.domain.vocabulary import nearest
from tslc.errors import BadInput

T = TypeVar("T")
# The environment when none is named; it need not be listed.
UNNAMED = "dev"


class Rank(IntEnum):
    """Who wins: the higher one."""

    DEFAULT = 0
    FILE = 1
    VARIABLE = 2
    FLAG = 3


@dataclass(frozen=True)
class Origin:
    """Where a value comes from; `where` is `tslc.yaml:3`, a variable, a flag, or `default`."""

    rank: Rank
    where: str

    def __str__(self) -> str:
        return self.where


DEFAULT = Origin(Rank.DEFAULT, "default")


@dataclass(frozen=True)
class Sourced(Generic[T]):
    value: T
    origin: Origin


@dataclass(frozen=True)
class Encryption:
    """What a PUT asks the store for. `key_id` None with SSE-KMS: the account's own key for S3."""

    type: EncryptionType = EncryptionType.NONE
    key_id: str | None = None


@dataclass(frozen=True)
class StoreSettings:
    url: StoreUrl = field(default_factory=LocalStore)
    endpoint_url: str | None = None
    region: str | None = None
    encryption: Encryption = field(default_factory=Encryption)


@dataclass(frozen=True)
class CacheSettings:
    """`max_size` in bytes."""

    path: Path
    max_size: int = 200 * 1024**3


@dataclass(frozen=True)
class EnvironmentSettings:
    """`trusted_keys`: files of public keys. One that stands in the file trusts only whom it names;
    `dev`, where the file does not list it, trusts nobody and allows unsigned versions, and a
    version to be asked for by header. `strategy`: of models that are new in it."""

    name: str
    trusted_keys: tuple[Path, ...] = ()
    allow_unsigned: bool = True
    allow_version_header: bool = True
    strategy: Strategy = Strategy.WARM


@dataclass(frozen=True)
class Settings:
    cache: CacheSettings
    store: StoreSettings = field(default_factory=StoreSettings)
    environments: Mapping[str, EnvironmentSettings] = field(default_factory=dict)
    default_environment: str = UNNAMED
    pipeline: PipelineSettings | None = None

    def environment(self, name: str | None = None) -> EnvironmentSettings:
        """The one called `name`, or the default one.

        Raises BadInput for one that is not listed: it would have no rules.
        """
        wanted = name or self.default_environment
        if wanted in self.environments:
            return self.environments[wanted]
        if wanted == UNNAMED:
            return EnvironmentSettings(wanted)
        problem, fix = unlisted(wanted, self.environments)
        raise BadInput(problem, hint=fix)


@dataclass(frozen=True)
class ResolvedSettings:
    """The settings, and for each dotted key the value as text and its origin."""

    settings: Settings
    sources: Mapping[str, Sourced[object]]
    file: Path | None = None


def unlisted(name: str, names: Iterable[str]) -> tuple[str, str]:
    """What is wrong with an environment that is not among `names`, and the fix."""
    known = tuple(names)
    if not known:
        problem = f"no environment {name!r}: no tslc.yaml lists any"
        return problem, "work below the folder with tslc.yaml, or name it with --config"
    meant = nearest(name, known)
    return (
        f"no environment {name!r} among those of tslc.yaml: {', '.join(sorted(known))}",
        f"write {meant!r}" if meant else "list it below environments:",
    )
