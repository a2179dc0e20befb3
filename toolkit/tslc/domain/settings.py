"""Where a setting comes from: a flag, else an environment variable, else tslc.yaml, else a default.

Whom an environment trusts stands in tslc.yaml alone, where changes to it can be reviewed. AWS
credentials are no settings: boto3 finds them. A broken file is never half used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

from tslc.domain import settings_values as read
from tslc.domain.release.state import Strategy
from tslc.domain.settings_file import ENVIRONMENTS, FileSettings, Written, read_file
from tslc.domain.settings_model import (
    DEFAULT,
    UNNAMED,
    CacheSettings,
    Encryption,
    EnvironmentSettings,
    Origin,
    Rank,
    ResolvedSettings,
    Settings,
    Sourced,
    StoreSettings,
    unlisted,
)
from tslc.domain.settings_pipeline import SECTION as PIPELINE
from tslc.domain.settings_pipeline import PipelineSettings, read_pipeline
from tslc.domain.settings_values import (
    BucketUrl,
    EncryptionType,
    LocalStore,
    StoreUrl,
    WrongValue,
)
from tslc.domain.vocabulary import unknown_word
from tslc.errors import BadFile, Mistake

__all__ = [
    "FLAGS",
    "VARIABLES",
    "BucketUrl",
    "CacheSettings",
    "Encryption",
    "EncryptionType",
    "EnvironmentSettings",
    "LocalStore",
    "Origin",
    "Rank",
    "ResolvedSettings",
    "Settings",
    "Sourced",
    "StoreSettings",
    "StoreUrl",
    "resolve",
]

T = TypeVar("T")

# The flag of each setting; its variable is named after its key.
FLAGS: Mapping[str, str] = {
    "store.url": "--store",
    "store.endpoint_url": "--endpoint-url",
    "store.region": "--region",
    "store.encryption.type": "--encryption",
    "store.encryption.key_id": "--encryption-key",
    "cache.path": "--cache",
    "cache.max_size": "--cache-size",
    "default_environment": "--environment",
}
VARIABLES: Mapping[str, str] = {key: f"TSLC_{key.upper().replace('.', '_')}" for key in FLAGS}
_OURS = ("TSLC_STORE_", "TSLC_CACHE_", "TSLC_ENVIRONMENT", "TSLC_DEFAULT_")


def resolve(
    text: str | None,
    path: Path | None,
    environ: Mapping[str, str],
    flags: Mapping[str, str | None],
) -> ResolvedSettings:
    """The settings of tslc.yaml's `text` at `path`, the environment, and flags by dotted key.

    Raises BadFile with every mistake of all three; nothing else, whatever they hold.
    """
    resolver = _Resolver(text, path, environ, flags)
    settings = resolver.settings()
    if resolver.mistakes:
        raise BadFile("the configuration", resolver.mistakes)
    return ResolvedSettings(settings, resolver.sources, path if text is not None else None)


class _Resolver:
    def __init__(
        self,
        text: str | None,
        path: Path | None,
        environ: Mapping[str, str],
        flags: Mapping[str, str | None],
    ) -> None:
        self._path = path
        self._file = read_file(text) if text is not None else FileSettings()
        self._environ = environ
        self._flags = flags
        self.mistakes = [
            Mistake(f"{self._at(line)} {one.where}", one.problem, one.fix)
            for line, one in self._file.mistakes
        ]
        known = VARIABLES.values()
        for name in environ:
            if name.startswith(_OURS) and name not in known:
                self.mistakes.append(unknown_word("the environment", name, known))
        self.sources: dict[str, Sourced[object]] = {}

    def settings(self) -> Settings:
        cache = CacheSettings(
            self._one(
                "cache.path",
                partial(read.read_path, folder=None, env=self._environ),
                _default_cache(self._environ),
                from_file=self._path_in_file,
            ).value,
            self._one("cache.max_size", read.read_size, CacheSettings.max_size).value,
        )
        store = self._store()
        default = self._one("default_environment", read.read_environment, UNNAMED)
        environments = self._environments()
        if default.value not in environments and default.value != UNNAMED:
            # It would have no rules.
            problem, fix = unlisted(default.value, environments)
            self._wrong(default.origin, "default_environment", problem, fix)
        return Settings(cache, store, environments, default.value, self._pipeline(environments))

    def _pipeline(self, environments: Mapping[str, object]) -> PipelineSettings | None:
        prefix = f"{PIPELINE}."
        written = {
            key.removeprefix(prefix): one
            for key, one in self._file.values.items()
            if key.startswith(prefix)
        }
        if not written:
            return None
        values = {key: one.value for key, one in written.items()}
        found, mistakes = read_pipeline(values, environments)
        first = min(one.line for one in written.values())
        for key, one in mistakes:
            line = written[key].line if key in written else first
            self._wrong(Origin(Rank.FILE, self._at(line)), one.where, one.problem, one.fix)
        for key, at in written.items():
            self.sources[f"{prefix}{key}"] = Sourced(at.value, self._in_file(at))
        return found

    def _store(self) -> StoreSettings:
        url: Sourced[StoreUrl] = self._one("store.url", read.read_store_url, LocalStore())
        endpoint = self._of_bucket("store.endpoint_url", read.read_endpoint, url)
        region = self._of_bucket("store.region", read.read_region, url)
        kind = self._of_bucket("store.encryption.type", read.read_encryption, url)
        key_id = self._of_bucket("store.encryption.key_id", read.read_key_id, url)
        if key_id.value is not None and kind.value is not EncryptionType.SSE_KMS:
            if key_id.origin.rank >= kind.origin.rank:
                problem = f"a key for encryption {kind.value or EncryptionType.NONE}"
                fix = "leave it out, or write type: SSE-KMS"
                self._wrong(key_id.origin, "store.encryption.key_id", problem, fix)
            key_id = self._drop("store.encryption.key_id")
        encryption = Encryption(kind.value or EncryptionType.NONE, key_id.value)
        return StoreSettings(url.value, endpoint.value, region.value, encryption)

    def _of_bucket(
        self, key: str, reader: Callable[[object], T], url: Sourced[StoreUrl]
    ) -> Sourced[T | None]:
        """A setting that only a bucket has. Where `local` was said later, it is dropped."""
        one: Sourced[T | None] = self._one(key, reader, None)
        if one.value is None or isinstance(url.value, BucketUrl):
            return one
        if one.origin.rank >= url.origin.rank:
            problem = "the local store has no such setting"
            fix = "name the bucket as well: store.url (--store, TSLC_STORE_URL)"
            self._wrong(one.origin, key, problem, fix)
        return self._drop(key)

    def _drop(self, key: str) -> Sourced[T | None]:
        self.sources[key] = Sourced(None, DEFAULT)
        return Sourced(None, DEFAULT)

    def _one(
        self,
        key: str,
        reader: Callable[[object], T],
        default: T,
        from_file: Callable[[object], T] | None = None,
    ) -> Sourced[T]:
        """The value that wins. What loses must be right as well: elsewhere it wins."""
        result = Sourced(default, DEFAULT)
        for value, origin in self._said(key):
            in_file = origin.rank is Rank.FILE
            read_one = from_file if in_file and from_file else reader
            try:
                result = Sourced(read_one(value), origin)
            except WrongValue as wrong:
                self._wrong(origin, key, wrong.problem, wrong.fix)
        self.sources[key] = Sourced(result.value, result.origin)
        return result

    def _said(self, key: str) -> list[tuple[object, Origin]]:
        """What is said of a key, the lowest rank first; an empty variable says nothing."""
        said: list[tuple[object, Origin]] = []
        if key in self._file.values:
            written = self._file.values[key]
            said.append((written.value, self._in_file(written)))
        if variable := self._environ.get(VARIABLES[key]):
            said.append((variable, Origin(Rank.VARIABLE, VARIABLES[key])))
        if (flag := self._flags.get(key)) is not None:
            said.append((flag, Origin(Rank.FLAG, FLAGS[key])))
        return said

    def _environments(self) -> dict[str, EnvironmentSettings]:
        return {
            name: self._environment(name, keys) for name, keys in self._file.environments.items()
        }

    def _environment(self, name: str, keys: Mapping[str, Written]) -> EnvironmentSettings:
        section = f"{ENVIRONMENTS}.{name}"
        folder = self._path.parent if self._path else None
        paths = partial(read.read_paths, folder=folder, env=self._environ)
        before = len(self.mistakes)
        nobody: tuple[Path, ...] = ()
        trusted = self._of_environment(section, "trusted_keys", keys, paths, nobody)
        unsigned = self._of_environment(section, "allow_unsigned", keys, read.read_flag, False)
        header = self._of_environment(section, "allow_version_header", keys, read.read_flag, False)
        kind = self._of_environment(section, "strategy", keys, read.read_strategy, Strategy.WARM)
        if not trusted and not unsigned and len(self.mistakes) == before:
            fix = "add trusted_keys, or allow_unsigned: true"
            problem = "it trusts no key and allows nothing unsigned: no version can be used"
            self._wrong(self._in_file(keys[""]), section, problem, fix)
        return EnvironmentSettings(name, trusted, unsigned, header, kind)

    def _of_environment(
        self,
        section: str,
        key: str,
        keys: Mapping[str, Written],
        reader: Callable[[object], T],
        default: T,
    ) -> T:
        found, origin = default, DEFAULT
        if key in keys:
            origin = self._in_file(keys[key])
            try:
                found = reader(keys[key].value)
            except WrongValue as wrong:
                self._wrong(origin, f"{section}.{key}", wrong.problem, wrong.fix)
        self.sources[f"{section}.{key}"] = Sourced(found, origin)
        return found

    def _path_in_file(self, value: object) -> Path:
        return read.read_path(value, self._path.parent if self._path else None, self._environ)

    def _in_file(self, written: Written) -> Origin:
        return Origin(Rank.FILE, self._at(written.line))

    def _at(self, line: int) -> str:
        return f"{self._path or 'tslc.yaml'}:{line}"

    def _wrong(self, origin: Origin, key: str, problem: str, fix: str) -> None:
        where = f"{origin} {key}" if origin.rank is Rank.FILE else str(origin)
        self.mistakes.append(Mistake(where, problem, fix))


def _default_cache(env: Mapping[str, str]) -> Path:
    """$XDG_CACHE_HOME/tslc/store, or ~/.cache/tslc/store."""
    if caches := env.get("XDG_CACHE_HOME"):
        return Path(caches) / "tslc" / "store"
    return Path(env.get("HOME", "~")) / ".cache" / "tslc" / "store"
