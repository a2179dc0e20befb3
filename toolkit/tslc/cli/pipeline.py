"""`tslc pipeline`."""

from __future__ import annotations

import os
import secrets
import signal
import socket
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from tslc.cli.eval import KEY_VARIABLE
from tslc.cli.output import dry_run_option, emit, json_option, log
from tslc.cli.settings_options import settings_options
from tslc.cli.store_options import node_of, settings_of, store_options
from tslc.domain.pipeline.action import ACTION_VERSION, PROVIDER

if TYPE_CHECKING:
    from tslc.domain.settings import Settings
    from tslc.verbs.pipeline.job import WorkerWish

_PATH = click.Path(path_type=Path)


@click.group("pipeline")
def command() -> None:
    """The pipeline on AWS: written from tslc.yaml, and the worker of its long releases."""


@command.command("render")
@click.option(
    "--out", type=_PATH, default=Path("deploy/codepipeline"), show_default=True,
    help="Where template.yaml and buildspecs/ go.",
)  # fmt: skip
@settings_options
@dry_run_option
@json_option
def render_(out: Path, dry_run: bool, as_json: bool, **flags: Any) -> None:
    """Write the CloudFormation template and the buildspecs from the section pipeline: of tslc.yaml.

    Files that are so already are left as they are.
    """
    from tslc.verbs.pipeline.render import render

    done = render(settings_of(flags), out, dry_run=dry_run)
    document = {"folder": str(out), "files": sorted(done.files), "changed": sorted(done.changed)}
    said = "would write" if dry_run else "wrote"
    lines = [f"{said if one in done.changed else 'unchanged'} {out / one}" for one in done.files]
    emit({**document, "dry_run": dry_run}, "\n".join(lines), as_json=as_json)


@command.command("brief")
@click.argument("model")
@click.argument("version")
@click.option("--evaluation", type=_PATH, help="A file with what `tslc eval` said.")
@click.option("--out", type=_PATH, help="Write the whole text into this file.")
@click.option("--short", is_flag=True, help="Print one line, short enough for an approval.")
@store_options
@json_option
def brief(
    model: str,
    version: str,
    evaluation: Path | None,
    out: Path | None,
    short: bool,
    name: str,
    as_json: bool,
    **flags: Any,
) -> None:
    """Say what VERSION would change in an environment, for whoever has to approve it."""
    from tslc.adapters.node_folder import write_atomically
    from tslc.adapters.source_files import read_text
    from tslc.verbs.pipeline.brief import make_brief
    from tslc.verbs.store_access import open_store

    settings = settings_of(flags)
    text = read_text(evaluation) if evaluation else ""
    store = open_store(settings, node_of(name))
    made = make_brief(store, settings.environment().name, model, version, text)
    if out is not None:
        write_atomically(out, made.full)
    emit(asdict(made), made.short if short else made.full.rstrip(), as_json=as_json)


@command.command("worker")
@store_options
@click.option("--provider", default=PROVIDER, show_default=True, help="Of the action type.")
@click.option("--action-version", default=ACTION_VERSION, show_default=True, help="Likewise.")
@click.option(
    "--slice", "slice_seconds", type=click.FloatRange(0.1, 600), default=60, show_default=True,
    help="Seconds a job takes at most; the next one goes on.",
)  # fmt: skip
@click.option(
    "--poll", "poll_seconds", type=click.FloatRange(0.1, 300), default=10, show_default=True,
    help="Seconds between looks for jobs.",
)  # fmt: skip
@click.option(
    "--orphaned-after", type=click.FloatRange(0.1, 3600), default=300, show_default=True,
    help="Take up jobs that no worker has touched for so many seconds.",
)  # fmt: skip
@click.option(
    "--jobs", type=click.IntRange(1, 64), default=4, show_default=True,
    help="Releases of so many models at once.",
)  # fmt: skip
@click.option("--url", help=f"Evaluate through a router; its key is in {KEY_VARIABLE}.")
@click.option("--codepipeline-url", metavar="URL", help="CodePipeline, where it is not AWS's.")
@click.option("--artifacts-url", metavar="URL", help="S3 of its artifacts, where it is not AWS's.")
def worker(
    name: str,
    provider: str,
    action_version: str,
    slice_seconds: float,
    poll_seconds: float,
    orphaned_after: float,
    jobs: int,
    url: str | None,
    codepipeline_url: str | None,
    artifacts_url: str | None,
    **flags: Any,
) -> None:
    """Carry out the releases that a CodePipeline action asks for, in one environment.

    Each job goes on with its release for a slice of time and tells CodePipeline how far it is; the
    next job goes on. Whoever is killed loses nothing: another worker goes on. SIGTERM ends it when
    the jobs it works on are told of.
    """
    from tslc.adapters.codepipeline import ActionType
    from tslc.errors import BadInput
    from tslc.verbs.pipeline.job import WorkerWish

    if orphaned_after < 3 * slice_seconds:
        hint = f"--orphaned-after {3 * slice_seconds:g}"
        raise BadInput("a job that is worked on would be taken for one that was left", hint=hint)
    settings = settings_of(flags)
    wish = WorkerWish(
        environment=settings.environment().name,
        worker=f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}",
        action=ActionType(provider, action_version),
        slice_seconds=slice_seconds,
        poll_seconds=poll_seconds,
        orphaned_after=orphaned_after,
        jobs=jobs,
        region=os.environ.get("AWS_REGION") or settings.store.region,
        artifact_endpoint=artifacts_url,
    )
    _run(wish, settings, name, codepipeline_url, url)


def _run(
    wish: WorkerWish, settings: Settings, name: str, codepipeline_url: str | None, url: str | None
) -> None:
    """Until a signal says that it is enough."""
    from tslc.adapters.codepipeline import CodePipeline
    from tslc.adapters.job_records import JobRecords
    from tslc.verbs.pipeline.job import Bench
    from tslc.verbs.pipeline.release_step import release_step
    from tslc.verbs.pipeline.worker import Worker
    from tslc.verbs.store_access import open_store

    store, key = open_store(settings, node_of(name)), os.environ.get(KEY_VARIABLE)
    bench = Bench(
        wish,
        CodePipeline(wish.region, codepipeline_url),
        JobRecords(store, wish.environment),
        lambda release: release_step(release, settings, store, os.environ, url, key),
        log,
    )
    running = Worker(bench)

    def stop(number: int, frame: FrameType | None) -> None:
        running.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    log(f"worker {wish.worker} releases in {wish.environment}")
    running.run()
