"""`tslc lint`: check model configs and archive specs, and say how to mend them."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tslc.cli.output import emit, json_option, say
from tslc.domain.gpus import GPUS, Hardware, parse_size
from tslc.errors import BadInput

if TYPE_CHECKING:
    from tslc.domain.lint_rules import Finding
    from tslc.verbs.lint import LintReport


@click.command("lint")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE…")
@click.option(
    "--weights", type=click.Path(path_type=Path), help="The model's folder (config.json)."
)
@click.option("--gpu", type=click.Choice(sorted(GPUS)), help="The kind of GPU it is for.")
@click.option("--gpu-memory", metavar="SIZE", help="Memory of one GPU, such as 80GiB.")
@click.option("--gpus", type=click.IntRange(min=1), help="How many GPUs there are.  [default: 1]")
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
@json_option
def command(
    files: tuple[Path, ...],
    weights: Path | None,
    gpu: str | None,
    gpu_memory: str | None,
    gpus: int | None,
    strict: bool,
    as_json: bool,
) -> None:
    """Check model configs, archive.yaml files and archive folders.

    Every finding names its rule, why it matters and the fix; docs/lint.md lists the rules. With the
    model's folder and the hardware, also whether the model fits. Exit code 2 when there are errors.
    """
    from tslc.verbs.lint import lint

    hardware = _hardware(gpu, gpu_memory, gpus)
    report = lint(files, weights_folder=weights, hardware=hardware, environment=os.environ)
    for remark in report.remarks:
        say(remark)
    emit(_as_json(report, strict), lambda: _as_text(report), as_json=as_json)
    bad = report.bad_files(strict=strict)
    if bad:
        of = f"{bad} of {len(report.files)} file{'s' if len(report.files) != 1 else ''}"
        raise BadInput(f"{of} can't be used as written")


def _hardware(gpu: str | None, gpu_memory: str | None, gpus: int | None) -> Hardware | None:
    if gpu and gpu_memory:
        raise BadInput("--gpu and --gpu-memory say the same", hint="give one of them")
    if gpu:
        return Hardware(GPUS[gpu], gpus or 1, gpu)
    if gpu_memory:
        size = parse_size(gpu_memory)
        if not size:
            raise BadInput(f"--gpu-memory {gpu_memory} is no size", hint="write it like 80GiB")
        return Hardware(size, gpus or 1, "GPU")
    if gpus:
        raise BadInput("--gpus needs the kind of GPU", hint="add --gpu NAME or --gpu-memory 80GiB")
    return None


def _as_json(report: LintReport, strict: bool) -> dict[str, object]:
    from tslc.domain.lint import counts

    files = [
        {
            "path": file.path,
            "ok": not file.bad(strict=strict),
            "findings": [asdict(f) | {"fails": counts(f, strict=strict)} for f in file.findings],
        }
        for file in report.files
    ]
    ok = report.bad_files(strict=strict) == 0
    return {"ok": ok, "files": files, "remarks": list(report.remarks)}


def _as_text(report: LintReport) -> str:
    blocks = [_block(finding) for file in report.files for finding in file.findings]
    return "\n".join([*blocks, *(_summary(file.path, file.findings) for file in report.files)])


def _block(finding: Finding) -> str:
    return (
        f"{finding.where}\n"
        f"  {finding.severity} {finding.rule}: {finding.problem}\n"
        f"  why: {finding.why}\n"
        f"  fix: {finding.fix}\n"
    )


def _summary(path: str, findings: tuple[Finding, ...]) -> str:
    from tslc.domain.lint_rules import Severity

    counted = {s: sum(finding.severity is s for finding in findings) for s in Severity}
    said = [f"{n} {s}{'s' if n != 1 else ''}" for s, n in counted.items() if n]
    return f"{path}: {', '.join(said) or 'ok'}"
