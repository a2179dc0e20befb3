"""`tslc config`: the settings as they are in force here, and where each comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tslc.adapters.settings_file import find_settings, read_settings
from tslc.domain.settings import ResolvedSettings, resolve


@dataclass(frozen=True)
class Setting:
    """A row of `tslc config`; `value` is plain JSON."""

    key: str
    value: bool | int | str | list[str] | None
    origin: str


def current_settings(
    folder: Path,
    environ: Mapping[str, str],
    flags: Mapping[str, str | None],
    file: Path | None = None,
) -> ResolvedSettings:
    """The settings for someone who stands in `folder`; `file` instead of the one found there.

    Raises BadInput for a file that can't be read, BadFile with every mistake of what was said.
    """
    found = read_settings(file) if file else find_settings(folder)
    path, text = found or (None, None)
    return resolve(text, path, environ, flags)


def rows(resolved: ResolvedSettings) -> tuple[Setting, ...]:
    """Every key with its value, in the order of their names."""
    return tuple(
        Setting(key, _plain(one.value), str(one.origin))
        for key, one in sorted(resolved.sources.items())
    )


def _plain(value: object) -> bool | int | str | list[str] | None:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, tuple):
        return [str(one) for one in value]
    return str(value)
