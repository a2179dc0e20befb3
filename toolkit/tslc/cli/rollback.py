"""`tslc rollback`."""

from __future__ import annotations

import click

from tslc.cli.change_options import Changing, change_options


@click.command("rollback")
@click.argument("model")
@click.option("--to", metavar="VERSION", help="Where to, if not the stable version before.")
@change_options
def command(
    model: str,
    to: str | None,
    changing: Changing,
) -> None:
    """Give all traffic back: from a split to the stable version, from a promotion to the one
    before it.

    A version that is still loaded answers at once.
    """
    from tslc.domain.release.changes import rollback
    from tslc.verbs.environment_status import ready_versions

    what = f"rollback {model}" + (f" --to {to}" if to else "")
    there = ready_versions(changing.store, changing.environment, model)
    decide = lambda before: rollback(model, before, to, loaded=there)  # noqa: E731
    changing.carry_out(model, decide, what, loaded=False)
