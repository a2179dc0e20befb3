"""What an archive will be made of: every file a spec names, found, read and checked.

Collects mistakes rather than stopping at the first, so that one run of `tslc build` shows all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tslc.adapters import source_files
from tslc.adapters.archiver import handler_package
from tslc.adapters.source_files import Unreadable
from tslc.adapters.vllm_source import read_engine_fields
from tslc.domain import archive_contents as contents
from tslc.domain.archive_spec import ArchiveSpec, HubWeights, LocalWeights
from tslc.domain.golden import parse_golden
from tslc.domain.handler_source import file_name_mistakes, handler_mistakes
from tslc.domain.lint import check_model_config
from tslc.domain.lint_rules import Severity
from tslc.domain.memory import WeightsFacts, read_architecture
from tslc.domain.overrides import apply_overrides
from tslc.domain.weights import WeightsFolder, weights_mistakes
from tslc.errors import BadFile, Mistake, TslcError


@dataclass
class Sources:
    """Filled in by `gather`: what goes into the archive by path, and what is wrong with it."""

    files: dict[str, Path | bytes] = field(default_factory=dict)
    handler: str = contents.HANDLER_NAME
    model_config: str = ""
    golden_prompts: int = 0
    weights: Path | None = None
    mistakes: list[Mistake] = field(default_factory=list)
    warnings: list[Mistake] = field(default_factory=list)

    def add(self, where: str, path: str, source: Path | bytes) -> None:
        if problem := contents.placement_problem(path, self.files):
            fix = "rename the one that is yours"
            self.mistakes.append(Mistake(where, f"{path} can't be added: {problem}", fix))
        else:
            self.files[path] = source


def gather(
    spec: ArchiveSpec, folder: Path, model_config: Path | None, overrides: tuple[str, ...]
) -> Sources:
    """Everything a spec in `folder` names. `model_config` replaces the spec's own."""
    sources = Sources()
    _add_package(sources)
    _add_handler(sources, spec, folder)
    _add_golden(sources, spec, folder)
    _add_extra_files(sources, spec, folder)
    facts = _check_weights(sources, spec, folder)
    config = model_config or (folder / spec.model_config if spec.model_config else None)
    if config is not None:
        where = "--model-config" if model_config else spec.where("model_config")
        _add_model_config(sources, spec, where, config, overrides, facts)
    return sources


def _read(sources: Sources, where: str, path: Path) -> str | None:
    try:
        return source_files.read_text(path)
    except Unreadable as error:
        sources.mistakes.append(Mistake(where, error.message, error.hint or ""))
        return None


def _add_package(sources: Sources) -> None:
    package = handler_package()
    if package is None:
        raise TslcError("the package tslc_handlers is not installed", hint="pip install tslc")
    for path, file in source_files.files_of(package).items():
        sources.files[path] = file


def _add_handler(sources: Sources, spec: ArchiveSpec, folder: Path) -> None:
    if spec.stock or not spec.handler:
        source = contents.STOCK_HANDLER_SOURCE.encode()
        sources.files[contents.HANDLER_NAME] = source
        return
    where = spec.where("handler")
    path = folder / spec.handler
    text = _read(sources, where, path)
    named = file_name_mistakes(spec.handler)
    found = (*named, *(handler_mistakes(text, path.name) if text is not None else ()))
    sources.mistakes += [Mistake(f"{where}: {m.where}", m.problem, m.fix) for m in found]
    sources.handler = path.name
    if text is not None and not named:
        sources.add(where, path.name, path)


def _add_golden(sources: Sources, spec: ArchiveSpec, folder: Path) -> None:
    if not spec.golden:
        return
    where = spec.where("golden")
    text = _read(sources, where, folder / spec.golden)
    if text is None:
        return
    try:
        sources.golden_prompts = len(parse_golden(text, spec.golden))
    except BadFile as error:
        sources.mistakes += [
            Mistake(f"{spec.golden}: {m.where}", m.problem, m.fix) for m in error.mistakes
        ]
    sources.add(where, contents.GOLDEN_NAME, text.encode())


def _add_extra_files(sources: Sources, spec: ArchiveSpec, folder: Path) -> None:
    if spec.requirements:
        where = spec.where("requirements")
        text = _read(sources, where, folder / spec.requirements)
        sources.add(where, contents.REQUIREMENTS_NAME, (text or "").encode())
    where = spec.where("extra_files")
    for said in spec.extra_files:
        try:
            found = source_files.files_of(source_files.absolute(folder / said))
        except Unreadable as error:
            sources.mistakes.append(Mistake(where, error.message, error.hint or ""))
            continue
        if not found:
            sources.mistakes.append(Mistake(where, f"{said} is an empty folder", "remove it"))
        for path, file in found.items():
            sources.add(where, path, file)


def _check_weights(sources: Sources, spec: ArchiveSpec, folder: Path) -> WeightsFacts | None:
    match spec.weights:
        case LocalWeights(said):
            where = spec.where("weights")
            sources.weights = source_files.absolute(folder / said)
            try:
                found = source_files.read_weights_folder(sources.weights)
            except Unreadable as error:
                sources.mistakes.append(Mistake(where, error.message, error.hint or ""))
                return None
            sources.mistakes += weights_mistakes(found, f"{where}: {sources.weights}")
            return weights_facts(found, sources.weights.name)
        case HubWeights() | None:
            return None


def _add_model_config(
    sources: Sources,
    spec: ArchiveSpec,
    where: str,
    path: Path,
    overrides: tuple[str, ...],
    facts: WeightsFacts | None,
) -> None:
    text = _read(sources, where, path)
    if text is None:
        return
    try:
        text = apply_overrides(text, overrides, str(path))
    except BadFile as error:
        sources.mistakes += error.mistakes
    sources.model_config = text
    sources.files[contents.MODEL_CONFIG_NAME] = text.encode()
    errors, sources.warnings = lint(text, str(path), facts)
    sources.mistakes += errors
    sources.mistakes += contents.reference_mistakes(
        text, str(path), sources.files, stock=spec.stock, weights=spec.weights is not None
    )


def lint(
    text: str, subject: str, facts: WeightsFacts | None
) -> tuple[list[Mistake], list[Mistake]]:
    """The errors and the warnings that `tslc lint` has for a model config."""
    by_severity: Mapping[Severity, list[Mistake]] = {severity: [] for severity in Severity}
    fields = read_engine_fields()
    for found in check_model_config(text, subject, engine_fields=fields, weights=facts):
        mistake = Mistake(found.where, f"{found.problem} ({found.why})", found.fix)
        by_severity[found.severity].append(mistake)
    return by_severity[Severity.ERROR], by_severity[Severity.WARNING]


def weights_facts(folder: WeightsFolder, name: str) -> WeightsFacts:
    """What lint wants to know of a weights folder."""
    try:
        config = json.loads(folder.config or b"")
    except (ValueError, RecursionError):
        config = None
    size = sum(folder.sizes[path] for path in folder.heads)
    return WeightsFacts(
        architecture=read_architecture(config) if isinstance(config, dict) else None,
        file_bytes=size or None,
        name=name,
    )
