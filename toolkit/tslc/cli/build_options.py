"""Options of the commands that build an archive."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

PATH = click.Path(path_type=Path)


def output_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """-o: passed as `output`."""
    return click.option(
        "-o",
        "--output",
        type=PATH,
        default=Path("dist"),
        show_default=True,
        help="Where the archive goes.",
    )(command)
