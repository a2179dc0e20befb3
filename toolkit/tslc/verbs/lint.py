"""Check model configs, and the specs that name them, and say what was not checked and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tslc.adapters.source_files import Unreadable, is_folder, read_text, read_weights_folder
from tslc.adapters.vllm_source import read_engine_fields
from tslc.domain.archive_spec import SPEC_NAME, draft_spec, is_spec
from tslc.domain.config_document import read_document
from tslc.domain.engine_fields import EngineFields
from tslc.domain.gpus import Hardware
from tslc.domain.lint import counts
from tslc.domain.lint_rules import RULES, Finding
from tslc.domain.memory import WeightsFacts
from tslc.domain.weights import config_mistakes, weights_facts
from tslc.errors import BadFile, Mistake
from tslc.verbs.build_sources import gather
from tslc.verbs.build_sources import lint as lint_config


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
    when it can't be read.
    """
    engine = read_engine_fields()
    weights = _facts_of(weights_folder) if weights_folder else None
    files: list[LintedFile] = []
    known: list[bool] = []
    for said in paths:
        path = said
        try:
            path = said / SPEC_NAME if is_folder(said) else said
            text = read_text(path)
        except Unreadable as error:
            files.append(LintedFile(str(path), (_unreadable(error, path),)))
            continue
        if path.name == SPEC_NAME or is_spec(text):
            found, facts = _spec(text, path, weights, hardware, environment)
            files += found
            known.append(facts is not None)
        else:
            findings = lint_config(read_document(text), str(path), weights, hardware=hardware)
            files.append(LintedFile(str(path), findings))
            known.append(weights is not None)
    return LintReport(tuple(files), _remarks(engine, all(known), hardware))


def _facts_of(folder: Path) -> WeightsFacts:
    found = read_weights_folder(folder)
    if mistakes := tuple(config_mistakes(found, str(folder))):
        raise BadFile("--weights", mistakes)
    return weights_facts(found, folder.name)


def _unreadable(error: Unreadable, path: Path) -> Finding:
    rule = RULES["unreadable"]
    return Finding(
        rule=rule.id,
        severity=rule.severity,
        where=str(path),
        line=1,
        key="",
        problem=error.message,
        why=rule.why,
        fix=error.hint or rule.fix,
    )


def _spec(
    text: str,
    path: Path,
    weights: WeightsFacts | None,
    hardware: Hardware | None,
    environment: Mapping[str, str],
) -> tuple[list[LintedFile], WeightsFacts | None]:
    """The findings of the spec and of what it names, and the weights' facts: as `tslc build`."""
    draft = draft_spec(text, environment)
    sources = gather(draft.spec, path.parent, facts=weights, hardware=hardware)
    mistakes = (*draft.mistakes, *sources.mistakes)
    files = [LintedFile(str(path), tuple(_spec_finding(mistake, path) for mistake in mistakes))]
    if config := sources.config:
        files.append(LintedFile(str(config.path), config.findings))
    return files, sources.facts


def _spec_finding(mistake: Mistake, path: Path) -> Finding:
    rule = RULES["archive-spec"]
    return Finding(
        rule=rule.id,
        severity=rule.severity,
        where=f"{path}: {mistake.where}",
        line=mistake.line or 1,
        key=mistake.where.removeprefix(f"line {mistake.line}, ").partition(":")[0],
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
