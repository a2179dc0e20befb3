"""`tslc retire`."""

from __future__ import annotations

import click

from tslc.cli.change_options import Changing, change_options


@click.command("retire")
@click.argument("model")
@click.argument("version")
@click.option(
    "--force",
    is_flag=True,
    help="Also one with traffic: the others get its share, and with the last one MODEL goes.",
)
@change_options
def command(
    model: str,
    version: str,
    force: bool,
    changing: Changing,
) -> None:
    """Unload VERSION from every node, once no request is left on it. It stays in the store."""
    from tslc.domain.release.changes import retire

    what = f"retire {model} {version}" + (" --force" if force else "")
    decide = lambda before: retire(model, before, version, force=force)  # noqa: E731
    changing.carry_out(model, decide, what, loaded=False, gone=(version,))
