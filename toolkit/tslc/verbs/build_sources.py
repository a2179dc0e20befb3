"""What an archive will be made of: every file a spec names, found, read and checked.

Collects mistakes rather than stopping at the first, so that one run of `tslc build`, or of
`tslc lint`, shows all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from tslc.adapters import source_files
from tslc.adapters.archiver import handler_package
from tslc.adapters.installed_modules import installed_modules
from tslc.adapters.source_files import Unreadable
from tslc.adapters.vllm_source import read_engine_fields
from tslc.domain import archive_contents as contents
from tslc.domain.archive_spec import (
    STOCK_HANDLER,
    STOCK_HANDLERS,
    ArchiveSpec,
    HubWeights,
    LocalWeights,
)
from tslc.domain.config_document import ConfigDocument, read_document, with_settings
from tslc.domain.golden import parse_golden
from tslc.domain.gpus import Hardware
from tslc.domain.handler_source import file_name_mistakes, handler_mistakes, shadowing_mistakes
from tslc.domain.lint import check_document
from tslc.domain.lint_rules import Finding, Severity
from tslc.domain.memory import WeightsFacts
from tslc.domain.weights import WeightsFolder, weights_facts, weights_mistakes
from tslc.errors import BadFile, Mistake, TslcError
from tslc.verbs.build_knowledge import INDEX, Knowledge, read_knowledge


@dataclass(frozen=True)
class LintedConfig:
    """A model config that could be read, and what lint found in it."""

    path: Path
    document: ConfigDocument
    findings: tuple[Finding, ...]


@dataclass
class Sources:
    """Filled in by `gather`: what goes into the archive by path, and what is wrong with it.

    `mistakes` are without the model config's findings.
    """

    spec: ArchiveSpec
    folder: Path
    files: dict[str, Path | bytes] = field(default_factory=dict)
    handler: str = contents.HANDLER_NAME
    config: LintedConfig | None = None
    golden_prompts: int = 0
    weights: Path | None = None
    guard: Path | None = None
    """The folder of the guard model's weights, a local one's."""
    facts: WeightsFacts | None = None
    knowledge: Knowledge | None = None
    mistakes: list[Mistake] = field(default_factory=list)

    @property
    def errors(self) -> list[Mistake]:
        """Everything that keeps an archive from being built."""
        found = self.config.findings if self.config else ()
        return [*self.mistakes, *as_mistakes(found, Severity.ERROR)]

    @property
    def warnings(self) -> list[Mistake]:
        found = self.config.findings if self.config else ()
        said = self.knowledge.warnings if self.knowledge else ()
        where = self.spec.where("rag")
        fix = "mend the document, or take it out"
        return [
            *as_mistakes(found, Severity.WARNING),
            *(Mistake(where, text, fix, self.spec.lines.get("rag")) for text in said),
        ]

    def report(self, key: str, problem: str, fix: str) -> None:
        """A mistake in what the spec's `key` names."""
        line = self.spec.lines.get(key)
        self.mistakes.append(Mistake(self.spec.where(key), problem, fix, line))

    def report_all(self, key: str, found: Iterable[Mistake], place: str) -> None:
        """Mistakes within what the spec's `key` names."""
        line = self.spec.lines.get(key)
        self.mistakes += [replace(m, where=f"{place}: {m.where}", line=line) for m in found]

    def add(self, key: str, path: str, source: Path | bytes) -> None:
        if problem := contents.placement_problem(path, self.files):
            fix = "rename the one that is yours"
            self.report(key, f"{path} can't be added: {problem}", fix)
        else:
            self.files[path] = source

    def read(self, key: str, path: Path) -> str | None:
        try:
            return source_files.read_text(path)
        except Unreadable as error:
            self.report(key, error.message, error.hint or "")
            return None


def gather(
    spec: ArchiveSpec,
    folder: Path,
    model_config: Path | None = None,
    overrides: tuple[str, ...] = (),
    *,
    facts: WeightsFacts | None = None,
    hardware: Hardware | None = None,
) -> Sources:
    """Everything a spec in `folder` names. `model_config` replaces the spec's own; `facts` are
    what the model config is checked with instead of those of the spec's weights."""
    sources = Sources(spec, folder)
    _add_package(sources)
    _add_handler(sources)
    _add_golden(sources)
    _add_extra_files(sources)
    _read_knowledge(sources)
    _check_weights(sources)
    _check_guard(sources)
    sources.facts = facts or sources.facts
    _add_model_config(sources, model_config, overrides, hardware)
    return sources


def _add_package(sources: Sources) -> None:
    package = handler_package()
    if package is None:
        raise TslcError("the package tslc_handlers is not installed", hint="pip install tslc")
    for path, file in source_files.files_of(package).items():
        sources.files[path] = file


def _add_handler(sources: Sources) -> None:
    spec = sources.spec
    if spec.stock or not spec.handler:
        name = STOCK_HANDLERS.get(spec.handler, STOCK_HANDLERS[STOCK_HANDLER])
        sources.files[contents.HANDLER_NAME] = contents.stock_handler_source(name).encode()
        return
    path = sources.folder / spec.handler
    text = sources.read("handler", path)
    named = file_name_mistakes(spec.handler, installed_modules())
    found = (*named, *(handler_mistakes(text, path.name) if text is not None else ()))
    sources.report_all("handler", found, spec.where("handler"))
    sources.handler = path.name
    if text is not None and not named:
        # What was checked is what is packed, whatever becomes of the file.
        sources.add("handler", path.name, text.encode())


def _add_golden(sources: Sources) -> None:
    golden = sources.spec.golden
    if not golden or (text := sources.read("golden", sources.folder / golden)) is None:
        return
    try:
        sources.golden_prompts = len(parse_golden(text, golden))
    except BadFile as error:
        sources.report_all("golden", error.mistakes, golden)
    sources.add("golden", contents.GOLDEN_NAME, text.encode())


def _add_extra_files(sources: Sources) -> None:
    spec, folder = sources.spec, sources.folder
    if spec.requirements:
        text = sources.read("requirements", folder / spec.requirements)
        sources.add("requirements", contents.REQUIREMENTS_NAME, (text or "").encode())
    added: list[str] = []
    for said in spec.extra_files:
        try:
            found = source_files.files_of(source_files.absolute(folder / said), folder)
        except Unreadable as error:
            sources.report("extra_files", error.message, error.hint or "")
            continue
        if not found:
            sources.report("extra_files", f"{said} is an empty folder", "remove it")
        for path, file in found.items():
            sources.add("extra_files", path, file)
        added += found
    if any(path.endswith((".py", ".so")) for path in added):
        shadows = shadowing_mistakes(added, installed_modules())
        sources.report_all("extra_files", shadows, spec.where("extra_files"))


def _read_knowledge(sources: Sources) -> None:
    spec = sources.spec
    if spec.rag is not None:
        sources.knowledge = read_knowledge(
            spec.rag, sources.folder, lambda problem, fix: sources.report("rag", problem, fix)
        )
        taken = [path for path in sources.files if path.split("/")[0].lower() == INDEX]
        if taken:
            fix = "rename it: the index of the knowledge base goes there"
            sources.report("rag", f"{taken[0]} can't be added", fix)


def _check_weights(sources: Sources) -> None:
    found = _check_folder(sources, "weights", sources.spec.weights)
    if found is not None:
        sources.weights, folder = found
        sources.facts = weights_facts(folder, sources.weights.name)
        if any(path.split("/")[0] == contents.GUARD_WEIGHTS for path in folder.sizes):
            problem = f"{sources.weights} has a folder {contents.GUARD_WEIGHTS}"
            sources.report("weights", problem, "rename it: a guard model's weights go there")


def _check_guard(sources: Sources) -> None:
    found = _check_folder(sources, "guard", sources.spec.guard)
    if found is not None:
        sources.guard = found[0]


def _check_folder(
    sources: Sources, key: str, named: LocalWeights | HubWeights | None
) -> tuple[Path, WeightsFolder] | None:
    """A local weights folder and what it looks like, when it can be read."""
    match named:
        case LocalWeights(said):
            path = source_files.absolute(sources.folder / said)
            try:
                found = source_files.read_weights_folder(path)
            except Unreadable as error:
                sources.report(key, error.message, error.hint or "")
                return None
            sources.report_all(key, weights_mistakes(found, str(path)), sources.spec.where(key))
            return path, found
        case HubWeights() | None:
            return None


def _add_model_config(
    sources: Sources,
    instead: Path | None,
    overrides: tuple[str, ...],
    hardware: Hardware | None,
) -> None:
    spec = sources.spec
    if instead is None and not spec.model_config:
        return
    path = source_files.tidy(instead or sources.folder / spec.model_config)
    try:
        text = source_files.read_text(path)
    except Unreadable as error:
        if instead is None:
            sources.report("model_config", error.message, error.hint or "")
        else:
            sources.mistakes.append(Mistake("--model-config", error.message, error.hint or ""))
        return
    document, mistakes = with_settings(read_document(text), overrides)
    sources.mistakes += mistakes
    sources.files[contents.MODEL_CONFIG_NAME] = document.text.encode()
    named = spec.names_weights
    found = lint(document, str(path), sources.facts, hardware=hardware, weights_named=named)
    sources.config = LintedConfig(path, document, found)
    sources.mistakes += contents.reference_mistakes(
        document, str(path), sources.files, stock=spec.stock, weights=named
    )
    sources.mistakes += contents.part_mistakes(spec, document)


def lint(
    document: ConfigDocument,
    subject: str,
    facts: WeightsFacts | None,
    *,
    hardware: Hardware | None = None,
    weights_named: bool | None = None,
) -> tuple[Finding, ...]:
    """What `tslc lint` finds in a model config."""
    return check_document(
        document,
        subject,
        engine_fields=read_engine_fields(),
        weights=facts,
        hardware=hardware,
        weights_named=weights_named,
    )


def as_mistakes(findings: Iterable[Finding], severity: Severity) -> Iterator[Mistake]:
    """The findings of one severity, as BadFile takes them."""
    for found in findings:
        if found.severity is severity:
            yield Mistake(found.where, f"{found.problem} ({found.why})", found.fix, found.line)
