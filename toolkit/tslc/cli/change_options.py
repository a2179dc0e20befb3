"""What the verbs that change an environment share: why, wait, dry run, and how the result looks."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click

from tslc.adapters.stop_signals import stop_signals
from tslc.cli.node_options import progress
from tslc.cli.output import dry_run_option, emit, json_option
from tslc.cli.store_options import node_of, settings_of, store_options
from tslc.domain.release.shares import share_text
from tslc.domain.release.state import Strategy

if TYPE_CHECKING:
    from tslc.adapters.s3_store import S3Store
    from tslc.domain.release.report import Goal, Progress, Reported
    from tslc.domain.settings import Settings
    from tslc.verbs.environment import Changed, Decide

Command = Callable[..., None]
strategy_option = click.option(
    "--strategy",
    type=click.Choice([one.value for one in Strategy]),
    help="warm: the new version is loaded beside the old; recreate: in its place.  "
    "[default: the model's, or the environment's]",
)


def change_options(command: Command) -> Command:
    """`--env` and the other settings, `--reason`, `--wait`, `--timeout`, `--dry-run`, `--json`; the
    command gets them as `changing`."""

    @functools.wraps(command)
    def call(**given: Any) -> None:
        own = {one.name: given.pop(one.name) for one in fields(Changing) if one.name != "flags"}
        flags = {key: given.pop(key) for key in list(given) if key.startswith("setting")}
        command(changing=Changing(**own, flags=flags), **given)

    wrapped: Command = call
    for option in (
        json_option,
        dry_run_option,
        click.option(
            "--timeout", default=900.0, show_default=True, help="How long --wait waits, in seconds."
        ),
        click.option("--wait", "waits", is_flag=True, help="Wait until every node has done it."),
        click.option("--reason", default="", metavar="TEXT", help="Why; it goes into the history."),
        store_options,
    ):
        wrapped = option(wrapped)
    return wrapped


@dataclass
class Changing:
    """A change as the command line gave it. `name`: the node whose own store may be meant."""

    name: str
    reason: str
    waits: bool
    timeout: float
    dry_run: bool
    as_json: bool
    flags: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def settings(self) -> Settings:
        return settings_of(self.flags)

    @cached_property
    def store(self) -> S3Store:
        from tslc.verbs.store_access import open_store

        return open_store(self.settings, node_of(self.name))

    @property
    def environment(self) -> str:
        return self.settings.environment().name

    def strategy(self, stated: str | None, before: Any) -> Strategy:
        from tslc.verbs.environment import strategy_of

        return strategy_of(stated, before, self.settings.environment().strategy)

    def carry_out(
        self,
        model: str,
        decide: Decide,
        what: str,
        *,
        loaded: bool,
        gone: tuple[str, ...] = (),
    ) -> None:
        """Change, wait if asked to, print. `loaded`, `gone`: what else is waited for."""
        from tslc.adapters.build_environment import who
        from tslc.verbs.environment import Telling, change_model, goal_of
        from tslc.verbs.store_trust import checker

        telling = Telling(who(os.environ), self.reason, what)
        with stop_signals():
            changed = change_model(
                *(self.store, self.environment, model, decide, telling, checker(self.settings)),
                dry_run=self.dry_run,
            )
            waited: tuple[Reported, ...] | None = None
            if self.waits and not self.dry_run:
                waited = self._wait(goal_of(changed, loaded=loaded, gone=gone))
        emit(
            _as_json(changed, waited, dry_run=self.dry_run),
            lambda: _text(changed, waited, dry_run=self.dry_run),
            as_json=self.as_json,
        )

    def _wait(self, goal: Goal) -> tuple[Reported, ...]:
        from tslc.verbs.environment import wait

        with progress() as line:

            def show(come: Progress) -> None:
                some = "; ".join(f"{node}: {why}" for node, why in sorted(come.pending.items()))
                line(f"{come.done} of {come.nodes} nodes  {some}"[:100])

            _, seen = wait(self.store, self.environment, goal, self.timeout, show)
        return seen


def _as_json(
    changed: Changed, waited: tuple[Reported, ...] | None, *, dry_run: bool
) -> dict[str, Any]:
    after = changed.after
    return {
        "environment": changed.environment,
        "model": changed.model,
        "generation": changed.generation,
        "changed": changed.written,
        "dry_run": dry_run,
        "changes": list(changed.words),
        "shares": {v: share / 100 for v, share in after.shares.items()} if after else {},
        "trust": dict(changed.trust),
        "nodes": [
            {"node": plan.node, "steps": list(plan.steps), "refusal": plan.refusal}
            for plan in changed.plans
        ],
        "reached_by": [one.report.node for one in waited if one.live] if waited else None,
    }


def _text(changed: Changed, waited: tuple[Reported, ...] | None, *, dry_run: bool) -> str:
    where = f"{changed.model} in {changed.environment}"
    if not changed.words:
        lines = [f"{where} is so already (generation {changed.generation})"]
    elif dry_run:
        lines = [f"would change {where}:", *(f"  {word}" for word in changed.words)]
        for plan in changed.plans:
            lines.append(f"  on {plan.node}:")
            lines += [f"    - {step}" for step in plan.steps]
            lines += [f"    ! {plan.refusal}"] if plan.refusal else []
        if not changed.plans:
            lines.append("  no node reports for this environment")
    else:
        lines = [f"{where}, generation {changed.generation}:"]
        lines += [f"  {word}" for word in changed.words]
    if waited is not None:
        nodes = [one.report.node for one in waited if one.live]
        shares = changed.after.shares.items() if changed.after else ()
        split = ", ".join(f"{version} {share_text(share)}" for version, share in shares if share)
        lines.append(f"  in force on {', '.join(nodes)}" + (f": {split}" if split else ""))
    return "\n".join(lines)
