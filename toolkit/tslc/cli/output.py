"""What every verb prints with: the result on stdout, everything else on stderr."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import click

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Print what would be done and do nothing."
)


def say(line: str) -> None:
    """Progress and remarks: stderr."""
    click.echo(line, err=True)


def log(text: str) -> None:
    """A line of the log of a command that runs on and on: stderr."""
    say(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}")


def emit(result: Any, text: str | Callable[[], str], *, as_json: bool) -> None:
    """The result: stdout, as JSON or as text."""
    if as_json:
        click.echo(json.dumps(result, indent=2, sort_keys=True))
    else:
        click.echo(text if isinstance(text, str) else text())


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned columns, two blanks apart, as kubectl prints them."""
    cells = [tuple(header), *(tuple(row) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)


def size_text(count: int) -> str:
    """1 kB is 1000 bytes."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def plural(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"
