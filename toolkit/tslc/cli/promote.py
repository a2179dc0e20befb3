"""`tslc promote`."""

from __future__ import annotations

import click

from tslc.cli.change_options import Changing, change_options, strategy_option


@click.command("promote")
@click.argument("model")
@click.argument("version")
@strategy_option
@change_options
def command(
    model: str,
    version: str,
    strategy: str | None,
    changing: Changing,
) -> None:
    """Give VERSION all of MODEL's traffic.

    It gets it on each node when it is ready there and has passed its golden prompts; until then
    those that have the traffic keep it. The version before stays loaded for a rollback (strategy
    warm).
    """
    from tslc.domain.release.changes import promote

    changing.carry_out(
        model,
        lambda before: promote(before, version, changing.strategy(strategy, before)),
        f"promote {model} {version}",
        loaded=False,
    )
