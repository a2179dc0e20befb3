"""What the verbs of the local node share: where it lies, and lines of progress on a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from tslc.domain.node import DEFAULT_NODE, home_folder

name_option = click.option(
    "--name", default=DEFAULT_NODE, show_default=True, metavar="NODE", help="Which local node."
)


def home() -> Path:
    return home_folder(os.environ).absolute()


class ProgressLine:
    """One line on stderr that changes; nothing at all when stderr is not a terminal."""

    def __init__(self) -> None:
        self._shown = ""

    def __call__(self, text: str) -> None:
        if sys.stderr.isatty() and text != self._shown:
            self.clear()
            click.echo(text, nl=False, err=True)
            self._shown = text

    def clear(self) -> None:
        if self._shown:
            click.echo("\r" + " " * len(self._shown) + "\r", nl=False, err=True)
            self._shown = ""


@contextmanager
def progress() -> Iterator[ProgressLine]:
    line = ProgressLine()
    try:
        yield line
    finally:
        line.clear()


def plan_text(steps: tuple[str, ...]) -> str:
    return "\n".join(["would:", *(f"  - {step}" for step in steps)])
