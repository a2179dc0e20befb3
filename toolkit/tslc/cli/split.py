"""`tslc split`."""

from __future__ import annotations

import click

from tslc.cli.change_options import Changing, change_options, strategy_option


@click.command("split")
@click.argument("model")
@click.argument("shares", nargs=-1, required=True, metavar="VERSION=PERCENT…")
@click.option("--sticky", metavar="BY", help="Keep users on a version: header:NAME or cookie:NAME.")
@click.option("--no-sticky", is_flag=True, help="Draw a version for each request.")
@click.option("--shadow", metavar="VERSION=PERCENT", help="Copy requests to a version unseen.")
@click.option("--no-shadow", is_flag=True, help="Copy none any more.")
@strategy_option
@change_options
def command(
    model: str,
    shares: tuple[str, ...],
    sticky: str | None,
    no_sticky: bool,
    shadow: str | None,
    no_shadow: bool,
    strategy: str | None,
    changing: Changing,
) -> None:
    """Divide MODEL's traffic between versions, such as 1.0.0=90 1.1.0=10.

    The percentages add up to 100 and may have two decimals. A version with 0 is loaded and gets
    none. Raising a version's share moves no sticky user off it.
    """
    from tslc.domain.release.changes import read_split, split

    wish = read_split(shares, sticky, shadow, no_sticky=no_sticky, no_shadow=no_shadow)
    more = [f"--sticky {sticky}"] if sticky else []
    more += [f"--shadow {shadow}"] if shadow else []
    more += ["--no-sticky"] if no_sticky else []
    more += ["--no-shadow"] if no_shadow else []
    changing.carry_out(
        model,
        lambda before: split(before, wish, changing.strategy(strategy, before)),
        " ".join(["split", model, *shares, *more]),
        loaded=True,
    )
