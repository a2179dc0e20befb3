"""Check model configs, and the specs that name them, and say what was not checked and why."""

from __future__ import annotations

import os.path
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tslc.adapters.source_files import Unreadable, is_folder, read_text
from tslc.adapters.vllm_source import read_engine_fields
from tslc.adapters.weights_folder import read_weights_facts
from tslc.domain.archive_spec import SPEC_NAME, ArchiveSpec, LocalWeights, draft_spec
from tslc.domain.engine_fields import EngineFields
from tslc.domain.gpus import Hardware
from tslc.domain.lint import check_model_config, counts
from tslc.domain.lint_rules import RULES, Finding
from tslc.domain.memory import WeightsFacts
from tslc.errors import BadInput, Mistake

_LINE = re.compile(r"line (\d+)")


@dataclass(frozen=True)
class LintedFile:
    path: str
    findings: tuple[Finding, ...]

    def bad(self, *, strict: bool) -> bool:
        return any(counts(finding, strict=strict) for finding in self.findings)


@dataclass(frozen=True)
class LintReport:
    """`remarks` say what the check rested on, and what it left out."""

    files: tuple[LintedFile, ...]
    remarks: tuple[str, ...]

    def bad_files(self, *, strict: bool) -> int:
        return sum(file.bad(strict=strict) for file in self.files)


def lint(
    paths: Sequence[Path],
    *,
    weights_folder: Path | None,
    hardware: Hardware | None,
    environment: Mapping[str, str],
) -> LintReport:
    """Lint every file; a folder stands for the archive.yaml in it.

    `weights_folder` is the model's; a spec's own weights count where it is None. Raises BadInput
    for a file or weights folder that can't be read.
    """
    engine = read_engine_fields()
    weights = read_weights_facts(weights_folder) if weights_folder else None
    files: list[LintedFile] = []
    known: list[bool] = []
    for path in (path / SPEC_NAME if is_folder(path) else path for path in paths):
        text = read_text(path)
        if path.name != SPEC_NAME:
            findings = _config(text, path, engine, weights, hardware)
            files.append(LintedFile(str(path), findings))
            known.append(weights is not None)
            continue
        found, facts = _spec(text, path, engine, weights, hardware, environment)
        files += found
        known.append(facts is not None)
    return LintReport(tuple(files), _remarks(engine, all(known), hardware))


def _config(
    text: str,
    path: Path,
    engine: EngineFields,
    weights: WeightsFacts | None,
    hardware: Hardware | None,
) -> tuple[Finding, ...]:
    return check_model_config(
        text, str(path), engine_fields=engine, weights=weights, hardware=hardware
    )


def _spec(
    text: str,
    path: Path,
    engine: EngineFields,
    weights: WeightsFacts | None,
    hardware: Hardware | None,
    environment: Mapping[str, str],
) -> tuple[list[LintedFile], WeightsFacts | None]:
    """The spec's findings, those of the model config it names, and the weights' facts."""
    draft = draft_spec(text, environment)
    mistakes = list(draft.mistakes)
    facts = weights or _weights_of(draft.spec, path, mistakes)
    config: list[LintedFile] = []
    if draft.spec.model_config:
        config_path = Path(os.path.normpath(path.parent / draft.spec.model_config))
        try:
            findings = _config(read_text(config_path), config_path, engine, facts, hardware)
            config.append(LintedFile(str(config_path), findings))
        except Unreadable as error:
            where = draft.spec.where("model_config")
            mistakes.append(Mistake(where, error.message, error.hint or ""))
    found = tuple(_spec_finding(mistake, path) for mistake in mistakes)
    return [LintedFile(str(path), found), *config], facts


def _weights_of(spec: ArchiveSpec, path: Path, mistakes: list[Mistake]) -> WeightsFacts | None:
    if not isinstance(spec.weights, LocalWeights):
        return None
    try:
        return read_weights_facts(path.parent / spec.weights.folder)
    except BadInput as error:
        mistakes.append(Mistake(spec.where("weights"), error.message, error.hint or ""))
        return None


def _spec_finding(mistake: Mistake, path: Path) -> Finding:
    rule = RULES["archive-spec"]
    line = _LINE.match(mistake.where)
    return Finding(
        rule=rule.id,
        severity=rule.severity,
        where=f"{path}: {mistake.where}",
        line=int(line[1]) if line else 1,
        key=mistake.where.rpartition(", ")[2],
        problem=mistake.problem,
        why=rule.why,
        fix=mistake.fix,
    )


def _remarks(
    engine: EngineFields, weights_known: bool, hardware: Hardware | None
) -> tuple[str, ...]:
    origin = "the one installed" if engine.installed else "a packaged list; none is installed here"
    remarks = [f"engine arguments of vLLM {engine.vllm_version} ({origin})"]
    if not weights_known:
        remarks.append("memory not checked: name the model's folder with --weights")
    elif hardware is None:
        remarks.append("GPU memory not checked: name the hardware with --gpu or --gpu-memory")
    return tuple(remarks)
