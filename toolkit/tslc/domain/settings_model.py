"""The settings as values: what the store is, where the cache lies, whom an environment trusts."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Generic, TypeVar

from tslc.domain.settings_values import EncryptionType, LocalStore, StoreUrl
from tslc.errors import BadInput

T = TypeVar("T")
# As much alike as this, and a name is another one misspelt.
_ALIKE = 0.7


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
    one that does not trusts nobody and allows unsigned versions."""

    name: str
    trusted_keys: tuple[Path, ...] = ()
    allow_unsigned: bool = True


@dataclass(frozen=True)
class Settings:
    cache: CacheSettings
    store: StoreSettings = field(default_factory=StoreSettings)
    environments: Mapping[str, EnvironmentSettings] = field(default_factory=dict)
    default_environment: str = "dev"

    def environment(self, name: str | None = None) -> EnvironmentSettings:
        """The one called `name`, or the default one.

        Raises BadInput for a name that only misspells one of the file's: it would trust anything.
        """
        wanted = name or self.default_environment
        if wanted in self.environments:
            return self.environments[wanted]
        if meant := misspelt(wanted, self.environments):
            raise BadInput(f"no environment {wanted!r}", hint=f"--environment {meant}")
        return EnvironmentSettings(wanted)


@dataclass(frozen=True)
class ResolvedSettings:
    """The settings, and for each dotted key the value as text and its origin."""

    settings: Settings
    sources: Mapping[str, Sourced[object]]
    file: Path | None = None


def misspelt(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` that `name` must have meant; None when it is a name of its own."""
    folded = {one.casefold(): one for one in names}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=_ALIKE)
    return folded[near[0]] if near else None
