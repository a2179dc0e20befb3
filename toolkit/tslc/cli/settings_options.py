"""The flags that override a setting, for every verb that works with the store."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tslc.domain.settings import FLAGS, VARIABLES

if TYPE_CHECKING:
    from tslc.domain.settings import ResolvedSettings

Command = Callable[..., None]
FILE_VARIABLE = "TSLC_CONFIG"
_FILE = "settings_file"
_ALSO = {"default_environment": ("--env",)}
_HELP = {
    "store.url": ("URL", "The store: s3://bucket/prefix, or local."),
    "store.endpoint_url": ("URL", "The S3 server, where it is not AWS."),
    "store.region": ("REGION", "The region of the bucket."),
    "store.encryption.type": ("TYPE", "How the store encrypts: SSE-S3, SSE-KMS or none."),
    "store.encryption.key_id": ("KEY", "The KMS key for SSE-KMS."),
    "cache.path": ("DIR", "The local cache of the store's content."),
    "cache.max_size": ("SIZE", "How large the cache may grow, such as 200GiB."),
    "default_environment": ("NAME", "The environment whose rules hold."),
}


def settings_options(command: Command) -> Command:
    """Adds `--store`, `--region` … and `--config`; hand what they give to `load_settings`."""
    for key, flag in reversed(list(FLAGS.items())):
        metavar, text = _HELP[key]
        text = f"{text}  [{VARIABLES[key]}]"
        names = (flag, *_ALSO.get(key, ()), parameter(key))
        command = click.option(*names, metavar=metavar, help=text)(command)
    kind = click.Path(dir_okay=False, path_type=Path)
    text = f"Settings from this file, not from the tslc.yaml found upwards.  [{FILE_VARIABLE}]"
    return click.option("--config", _FILE, type=kind, metavar="FILE", help=text)(command)


def load_settings(**flags: str | Path | None) -> ResolvedSettings:
    """The settings in force here, with what `settings_options` gave."""
    from tslc.verbs.config import current_settings

    named = flags.get(_FILE) or os.environ.get(FILE_VARIABLE) or None
    said = {key: value for key in FLAGS if (value := _flag(flags, key)) is not None}
    return current_settings(Path.cwd(), os.environ, said, Path(named) if named else None)


def settings_variables(resolved: ResolvedSettings, flags: dict[str, Any]) -> dict[str, str]:
    """Variables that give another process the settings this one has by its flags and its folder."""
    said = {VARIABLES[key]: value for key in FLAGS if (value := _flag(flags, key)) is not None}
    return said | ({FILE_VARIABLE: str(resolved.file.absolute())} if resolved.file else {})


def _flag(flags: Mapping[str, Any], key: str) -> str | None:
    value = flags.get(parameter(key))
    return None if value is None else str(value)


def parameter(key: str) -> str:
    """What the flag of a setting is called among a command's parameters."""
    return f"setting_{key.replace('.', '_')}"
