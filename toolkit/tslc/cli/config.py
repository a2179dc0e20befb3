"""`tslc config`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tslc.cli.output import emit, json_option, table
from tslc.cli.settings_options import load_settings, settings_options

if TYPE_CHECKING:
    from tslc.verbs.config import Setting


@click.command("config")
@settings_options
@json_option
def command(as_json: bool, **flags: str | Path | None) -> None:
    """Show every setting in force here and where it comes from.

    From tslc.yaml (in this folder or above it), environment variables and flags, in that rising
    order. AWS credentials are none of these: boto3 finds them its own way.
    """
    from tslc.verbs.config import rows

    resolved = load_settings(**flags)
    found = rows(resolved)
    document = {
        "file": str(resolved.file) if resolved.file else None,
        "settings": {one.key: {"value": one.value, "origin": one.origin} for one in found},
    }
    emit(document, lambda: _text(found), as_json=as_json)


def _text(found: tuple[Setting, ...]) -> str:
    return table(("KEY", "VALUE", "FROM"), [(one.key, _shown(one), one.origin) for one in found])


def _shown(one: Setting) -> str:
    match one.value:
        case None:
            return "-"
        case bool():
            return "true" if one.value else "false"
        case list():
            return ", ".join(one.value) or "-"
        case _:
            return str(one.value)
