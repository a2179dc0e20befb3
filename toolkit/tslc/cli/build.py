"""`tslc build`: parses, calls the verb, prints."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tslc.cli.build_options import PATH, output_option
from tslc.cli.output import dry_run_option, emit, json_option, say, size_text
from tslc.domain.archive_name import ArchiveFormat

if TYPE_CHECKING:
    from tslc.domain.archive_spec import HubWeights, LocalWeights
    from tslc.verbs.build import BuildPlan, BuildResult


@click.command(name="build")
@click.argument("spec", type=PATH)
@click.option("--version", required=True, help="The version's name, as in 1.0.0.")
@output_option
@click.option(
    "--format",
    "archive_format",
    type=click.Choice([str(known) for known in ArchiveFormat]),
    default=str(ArchiveFormat.MAR),
    show_default=True,
    help="mar (zip), tgz (.tar.gz) or a folder.",
)
@click.option("--model-config", type=PATH, help="Use this one, not the spec's.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one setting of the model config, as in handler.system_prompt='Be brief.'",
)
@click.option("--force", is_flag=True, help="Replace an archive that has other content.")
@dry_run_option
@json_option
def command(
    spec: Path,
    version: str,
    output: Path,
    archive_format: str,
    model_config: Path | None,
    overrides: tuple[str, ...],
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Build a model archive from SPEC, an archive.yaml or its folder.

    The same input gives the same bytes. Weights stay beside the archive, which names them by
    digest: OUTPUT/weights/<digest> leads to them. All mistakes are shown at once.
    """
    from tslc.verbs.build import BuildRequest, build, plan_build

    request = BuildRequest(
        spec, version, output, ArchiveFormat(archive_format), model_config, overrides, force
    )
    plan = plan_build(request, os.environ)
    for warning in plan.sources.warnings:
        say(f"warning: {warning}")
    if dry_run:
        emit(_plan_json(plan), lambda: _plan_text(plan), as_json=as_json)
        return
    with (
        _ProgressLine("hashing weights", size_text) as hashing,
        _ProgressLine("embedding", lambda total: f"{total} passages") as embedding,
    ):
        terminal = sys.stderr.isatty()
        result = build(
            plan, os.environ, hashing if terminal else None, embedding if terminal else None
        )
    emit(_result_json(result), lambda: _result_text(result), as_json=as_json)


class _ProgressLine:
    """One line on a terminal, redrawn at most ten times a second, gone at the end."""

    def __init__(self, what: str, total_text: Callable[[int], str]) -> None:
        self._what = what
        self._total_text = total_text
        self._drawn = 0.0

    def __enter__(self) -> _ProgressLine:
        return self

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._drawn >= 0.1:
            self._drawn = now
            percent = 100 * done // max(1, total)
            click.echo(
                f"\r\033[K{self._what} {percent}% of {self._total_text(total)} ",
                nl=False,
                err=True,
            )

    def __exit__(self, *_: object) -> None:
        if self._drawn:
            click.echo("\r\033[K", nl=False, err=True)


def _plan_json(plan: BuildPlan) -> dict[str, Any]:
    return {
        "dry_run": True,
        "archive": str(plan.target),
        "exists": plan.target_exists,
        "files": sorted(plan.sources.files),
        "weights": _weights_named(plan.spec.weights, plan.sources.weights),
        "guard": _weights_named(plan.spec.guard, plan.sources.guard),
        "documents": len(knowledge.documents) if (knowledge := plan.sources.knowledge) else 0,
        "golden_prompts": plan.sources.golden_prompts,
        "warnings": [str(warning) for warning in plan.sources.warnings],
    }


def _weights_named(named: HubWeights | LocalWeights | None, folder: Path | None) -> str | None:
    from tslc.domain.archive_spec import HubWeights

    match named:
        case HubWeights() as hub:
            return str(hub)
        case None:
            return None
        case _:
            return str(folder)


def _plan_text(plan: BuildPlan) -> str:
    lines = [f"would build {plan.target} with"]
    lines += [f"  {path}" for path in sorted(plan.sources.files)]
    if (knowledge := plan.sources.knowledge) is not None:
        count, cut = len(knowledge.documents), len(knowledge.passages)
        lines.append(f"and an index of {count} documents, cut into {cut} passages")
    if named := _weights_named(plan.spec.weights, plan.sources.weights):
        lines.append(f"and weights beside it: {named}")
    if named := _weights_named(plan.spec.guard, plan.sources.guard):
        lines.append(f"and a guard's weights beside it: {named}")
    if plan.target_exists:
        fate = "replaced" if plan.request.force else "kept and the build refused"
        lines.append(f"{plan.target} exists: if its content differs it would be {fate}")
    return "\n".join(lines)


def _result_json(result: BuildResult) -> dict[str, Any]:
    manifest = result.manifest
    weights = manifest.weights and {
        "digest": manifest.weights.digest,
        "size": manifest.weights.size,
        "link": str(result.weights_link),
    }
    return {
        "outcome": str(result.outcome),
        "archive": str(result.archive),
        "model": manifest.model,
        "version": manifest.version,
        "sha256": result.sha256,
        "manifest_digest": manifest.digest,
        "weights": weights,
        "index": asdict(result.index) if result.index else None,
        "golden_prompts": result.golden_prompts,
    }


def _result_text(result: BuildResult) -> str:
    from tslc.verbs.build import Outcome

    said = {
        Outcome.BUILT: f"built {result.archive}",
        Outcome.UNCHANGED: f"unchanged: {result.archive} has this content already",
        Outcome.REPLACED: f"replaced {result.archive}",
    }
    manifest = result.manifest
    size = size_text(sum(entry.size for entry in manifest.files.values()))
    lines = [said[result.outcome], f"  manifest  {manifest.digest}"]
    lines.append(f"  content   {len(manifest.files)} files, {size}")
    if manifest.weights:
        beside = f"{size_text(manifest.weights.size)}, {result.weights_link}"
        lines.append(f"  weights   {manifest.weights.digest} ({beside})")
    if index := result.index:
        held = f"{index.documents} documents, {index.passages} passages"
        lines.append(f"  index     {index.digest} ({held})")
    lines.append(f"  golden    {result.golden_prompts} prompts")
    return "\n".join(lines)
