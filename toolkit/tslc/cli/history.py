"""`tslc history` and `tslc history verify`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from tslc.cli.output import emit, json_option, plural, table
from tslc.cli.store_options import node_of, settings_of, store_options
from tslc.domain.release.shares import share_text
from tslc.errors import BadInput, Refused

if TYPE_CHECKING:
    from tslc.domain.release.history import Step
    from tslc.domain.release.state import EnvironmentState


@click.group("history", invoke_without_command=True)
@click.option("--model", help="Of one model only.")
@click.option("--at", "moment", metavar="TIME", help="What was to be served then, ISO 8601.")
@click.option("--limit", type=int, default=20, show_default=True, help="The newest so many.")
@store_options
@json_option
def command(
    model: str | None,
    moment: str | None,
    limit: int,
    name: str,
    as_json: bool,
    **flags: Any,
) -> None:
    """Show who changed an environment, when, why, from what to what; newest last."""
    from tslc.verbs.history import read_history, served_at
    from tslc.verbs.store_access import open_store

    if click.get_current_context().invoked_subcommand is not None:
        return
    settings = settings_of(flags)
    environment = settings.environment().name
    at = _moment(moment) if moment else None
    found = read_history(open_store(settings, node_of(name)), environment)
    if at is not None:
        state = served_at(found, at)
        emit(
            _state_json(state) if state else None,
            lambda: _state_text(state) if state else f"nothing was served in {environment} then",
            as_json=as_json,
        )
        return
    shown = [step for step in found if model is None or model in step.changed][-limit:]
    emit(
        [_step_json(step, _before(found, step)) for step in shown],
        lambda: _text(shown) if shown else f"{environment} has no history yet",
        as_json=as_json,
    )


@command.command("verify")
@store_options
@json_option
def verify(name: str, as_json: bool, **flags: Any) -> None:
    """Check that no entry of the history is missing or was changed. Ends with 3 if one was."""
    from tslc.verbs.history import verify_history
    from tslc.verbs.store_access import open_store

    settings = settings_of(flags)
    environment = settings.environment().name
    done = verify_history(open_store(settings, node_of(name)), environment)
    found = [{"generation": one.generation, "problem": one.problem} for one in done.flaws]
    document = {
        "environment": environment,
        "entries": done.entries,
        "head": done.head,
        "flaws": found,
    }
    if done.state_problem:
        good = done.entries - len(found)
        last = f"{environment}/history/{done.entries:010d}.json"
        hint = f"copy {last} to state.json beside it" if good and not found else "see the flaws"
        told = [f"  generation {one.generation}: {one.problem}" for one in done.flaws]
        raise Refused("\n".join([done.state_problem, *told]), hint=hint)
    if as_json or not found:
        said = f"{environment}: {plural(done.entries, 'entry').replace('entrys', 'entries')}, whole"
        emit(document, f"{said}; head {done.head}", as_json=as_json)
    if found:
        told = [f"  generation {one.generation}: {one.problem}" for one in done.flaws]
        hint = "an object was changed by hand: look at the bucket's own log and older versions"
        raise Refused("\n".join([f"the history of {environment} is not whole:", *told]), hint=hint)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        hint = "such as 2026-01-31T12:00 (local time) or 2026-01-31T12:00Z"
        raise BadInput(f"--at: {text!r} is no time", hint=hint) from None
    return moment.astimezone(UTC)


def _before(steps: tuple[Step, ...], step: Step) -> EnvironmentState | None:
    index = steps.index(step)
    return steps[index - 1].state if index else None


def _step_json(step: Step, before: EnvironmentState | None) -> dict[str, Any]:
    change = step.state.change
    return {
        "generation": step.state.generation,
        "digest": step.state.digest,
        "previous": step.state.previous,
        "who": change.who,
        "when": change.when,
        "why": change.why,
        "what": change.what,
        "changes": {name: list(words) for name, words in step.changed.items()},
        "from": _models_json(before) if before else {},
        "to": _models_json(step.state),
    }


def _models_json(state: EnvironmentState) -> dict[str, Any]:
    return {
        name: {
            "shares": {version: share / 100 for version, share in one.shares.items()},
            "stable": one.stable,
            "previous": one.previous,
            "sticky": str(one.sticky) if one.sticky else None,
            "shadow": {one.shadow.version: one.shadow.share / 100} if one.shadow else None,
            "strategy": str(one.strategy),
        }
        for name, one in state.models.items()
    }


def _state_json(state: EnvironmentState) -> dict[str, Any]:
    return {
        "generation": state.generation,
        "since": state.change.when,
        "models": _models_json(state),
    }


def _text(steps: list[Step]) -> str:
    rows = []
    for step in steps:
        change = step.state.change
        words = [f"{name} {word}" for name, said in step.changed.items() for word in said]
        rows.append(
            (str(step.state.generation), change.when[:19], change.who, words[0], change.why)
        )
        rows += [("", "", "", word, "") for word in words[1:]]
    return table(("GEN", "WHEN (UTC)", "WHO", "CHANGE", "WHY"), rows)


def _state_text(state: EnvironmentState) -> str:
    rows = [
        (name, version, share_text(share) if share else "-")
        for name, one in state.models.items()
        for version, share in one.shares.items()
    ]
    head = f"generation {state.generation}, since {state.change.when[:19]} UTC"
    return f"{head}\n\n{table(('MODEL', 'VERSION', 'SHARE'), rows)}"
