"""`tslc release`."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tslc.adapters.stop_signals import stop_signals
from tslc.cli.build_options import PATH, output_option
from tslc.cli.eval import KEY_VARIABLE
from tslc.cli.node_options import home, plan_text, progress
from tslc.cli.output import dry_run_option, emit, json_option, say
from tslc.cli.store_options import byte_progress, node_of, settings_of, store_options
from tslc.errors import BadInput, Refused

if TYPE_CHECKING:
    from tslc.adapters.s3_store import S3Store
    from tslc.domain.releasing.document import Release
    from tslc.verbs.build import BuildPlan
    from tslc.verbs.releasing.begin import ReleaseWish


@click.command("release")
@click.argument("spec", metavar="SPEC | MODEL")
@click.option("--version", required=True, help="The version's name, as in 1.1.0.")
@click.option("--plan", type=PATH, metavar="FILE", help="How it gets its traffic: release.yaml.")
@click.option("--stored", is_flag=True, help="MODEL's version is in the store: no build, no push.")
@click.option("--sign", "key", metavar="KEY", help="Sign: a private key's file, or awskms:///KEY.")
@output_option
@click.option("--url", help=f"Evaluate through a router; its key is in {KEY_VARIABLE}.")
@click.option("--reason", default="", metavar="TEXT", help="Why; it goes into the history.")
@click.option("--continue", "onward", is_flag=True, help="Go on from a pause.")
@click.option("--abort", is_flag=True, help="Take back the release that is under way.")
@store_options
@dry_run_option
@json_option
def command(
    spec: str,
    version: str,
    plan: Path | None,
    stored: bool,
    key: str | None,
    output: Path,
    url: str | None,
    reason: str,
    onward: bool,
    abort: bool,
    name: str,
    dry_run: bool,
    as_json: bool,
    **flags: str | Path | None,
) -> None:
    """Bring a version to all traffic step by step, or back.

    SPEC, an archive.yaml or its folder, is built, pushed and signed; the version is loaded and
    evaluated without traffic, then gets the shares of the plan, each watched for its bake time.
    A version that does not pass, or breaks a gate, is taken back, and the command exits with 3.

    How far it is lies in the store: the same command again goes on, from here or from another
    machine. Interrupted, the traffic stays as it is, and nobody watches it.
    """
    from tslc.adapters.build_environment import who
    from tslc.verbs.releasing.begin import ReleaseWish
    from tslc.verbs.releasing.release import Releasing, read_plan
    from tslc.verbs.store_access import open_store

    if onward and abort:
        raise BadInput("--continue and --abort exclude each other")
    settings = settings_of(flags)
    said, data = read_plan(plan) if plan is not None else (None, {})
    store = open_store(settings, node_of(name))
    goes_on = stored or onward or abort
    model, built = (spec, None) if stored else _built(spec, version, output)
    environment = settings.environment().name
    wish = ReleaseWish(environment, model, version, who(os.environ), reason, said, data, onward)
    if dry_run:
        steps = _steps(store, wish, None if goes_on else built, key)
        emit({"dry_run": True, "plan": list(steps)}, lambda: plan_text(steps), as_json=as_json)
        return
    with stop_signals():
        if built is not None and not goes_on:
            _bring(built, store, key)
        with progress() as line:

            def tell(text: str) -> None:
                line.clear()
                say(text)

            releasing = Releasing(
                *(store, settings, home(), name, url, os.environ.get(KEY_VARIABLE)), tell, line
            )
            release = releasing.abort(wish) if abort else releasing.go_on(wish)
    emit(_as_json(release), lambda: _text(release), as_json=as_json)
    _expect_good(release, aborted=abort)


def _built(spec: str, version: str, output: Path) -> tuple[str, BuildPlan]:
    from tslc.verbs.releasing.bring import plan_bring

    plan = plan_bring(Path(spec), version, output, os.environ)
    return plan.spec.model, plan


def _bring(plan: BuildPlan, store: S3Store, key: str | None) -> None:
    from tslc.verbs.releasing.bring import bring
    from tslc.verbs.store_trust import signer

    for warning in plan.sources.warnings:
        say(f"warning: {warning}")
    with byte_progress("sending") as sending:
        done = bring(plan, store, signer(key) if key else None, os.environ, sending)
    signed = ", signed" if done.pushed.signed else ""
    named = f"{done.pushed.manifest.model} {done.pushed.manifest.version}"
    say(f"{done.built.outcome} {done.built.archive}")
    say(f"{named}: {done.pushed.outcome} ({done.pushed.store}){signed}")


def _steps(
    store: S3Store, wish: ReleaseWish, built: BuildPlan | None, key: str | None
) -> tuple[str, ...]:
    from tslc.verbs.releasing.begin import planned

    first = []
    if built is not None:
        signed = ", signed" if key else ""
        first = [f"build {built.target}", f"push {wish.model} {wish.version}{signed}"]
    return (*first, *planned(store, wish))


def _as_json(release: Release) -> dict[str, Any]:
    found = asdict(release)
    left_out = ("data", "schema", "runner")
    found |= {key: _percent(found[key]) for key in ("before", "shares")}
    return {key: value for key, value in found.items() if key not in left_out}


def _percent(shares: dict[str, int] | None) -> dict[str, float] | None:
    return None if shares is None else {one: share / 100 for one, share in shares.items()}


def _text(release: Release) -> str:
    head = f"{release.model} {release.version} in {release.environment}: {release.state}"
    return "\n".join([head, *(f"  {event.when}  {event.what}" for event in release.story)])


def _expect_good(release: Release, *, aborted: bool) -> None:
    from tslc.domain.releasing.document import State

    named = f"{release.model} {release.version}"
    match release.state:
        case State.PAUSED:
            env = f"--env {release.environment} --version {release.version}"
            say(f"paused: tslc release --stored {release.model} {env} --continue")
        case State.TAKEN_BACK if not aborted:
            raise Refused(f"{named} was taken back: {release.reason}")
        case State.SUPERSEDED:
            raise Refused(f"the release of {named} ended, its traffic as it is: {release.reason}")
