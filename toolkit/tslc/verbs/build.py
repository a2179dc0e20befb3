"""`tslc build`: a versioned archive from a spec, the same bytes from the same input.

Two steps: `plan_build` reads and checks everything and writes nothing, `build` carries it out. An
archive that exists is never replaced by other content unless forced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tslc.adapters import archiver, source_files
from tslc.adapters.digest_cache import DigestCache, cache_folder
from tslc.adapters.hashing import Progress, hash_files
from tslc.adapters.hugging_face_hub import download_weights
from tslc.domain import archive_contents as contents
from tslc.domain.archive_name import ArchiveFormat, archive_name, version_problem
from tslc.domain.archive_spec import SPEC_NAME, ArchiveSpec, HubWeights, draft_spec
from tslc.domain.lint_rules import Severity
from tslc.domain.manifest import MANIFEST_NAME, Manifest, Weights
from tslc.domain.weights import weights_facts, weights_mistakes
from tslc.errors import BadFile, BadInput, Mistake, Refused
from tslc.verbs.build_knowledge import INDEX, index_files
from tslc.verbs.build_sources import Sources, as_mistakes, gather, lint


@dataclass(frozen=True)
class BuildRequest:
    """`spec`: an archive.yaml or its folder; `out`: the folder for the result."""

    spec: Path
    version: str
    out: Path
    archive_format: ArchiveFormat = ArchiveFormat.MAR
    model_config: Path | None = None
    overrides: tuple[str, ...] = ()
    force: bool = False


@dataclass(frozen=True)
class BuildPlan:
    """Input that is free of mistakes, and where the result goes."""

    request: BuildRequest
    spec: ArchiveSpec
    sources: Sources
    target: Path
    target_exists: bool


GUARD = f"{contents.GUARD_WEIGHTS}/"


class Outcome(StrEnum):
    BUILT = "built"
    UNCHANGED = "unchanged"
    REPLACED = "replaced"


@dataclass(frozen=True)
class BuildResult:
    """`sha256` is the file's, None for a folder; `weights_link` leads to the weights' folder."""

    outcome: Outcome
    archive: Path
    manifest: Manifest
    sha256: str | None
    weights_link: Path | None
    golden_prompts: int
    index: Index | None = None


@dataclass(frozen=True)
class Index:
    """The retrieval index of an archive. `digest`: `sha256:<hex>` over its files."""

    digest: str
    documents: int
    passages: int


def plan_build(request: BuildRequest, environment: Mapping[str, str]) -> BuildPlan:
    """Check everything a build needs; raises BadFile with all that is wrong at once."""
    path = request.spec / SPEC_NAME if source_files.is_folder(request.spec) else request.spec
    try:
        text = source_files.read_text(path)
    except source_files.Unreadable as error:
        raise BadInput(error.message, hint=f"name a folder with an {SPEC_NAME}") from None
    draft = draft_spec(text, environment)
    sources = gather(draft.spec, path.parent, request.model_config, request.overrides)
    mistakes = [*draft.mistakes, *sources.errors]
    if problem := version_problem(request.version):
        mistakes.append(Mistake("--version", problem, "write it like --version 1.0.0"))
    if mistakes:
        raise BadFile(str(path), mistakes)
    name = archive_name(draft.spec.model, request.version, request.archive_format)
    target = request.out / name
    return BuildPlan(request, draft.spec, sources, target, source_files.exists(target))


def build(
    plan: BuildPlan,
    environment: Mapping[str, str],
    progress: Progress | None = None,
    indexing: Progress | None = None,
) -> BuildResult:
    """Carry out a plan; `progress` is told of the bytes hashed, `indexing` of the passages.

    Raises Refused when another archive stands where the result would go."""
    parts = _weights_folders(plan)
    files = {
        f"{prefix}{path}": file
        for prefix, folder in parts.items()
        for path, file in source_files.weights_files(folder).items()
    }
    weights = None
    if files:
        cache = DigestCache(cache_folder(environment))
        weights = Weights(hash_files(files, cache=cache, progress=progress))
    with archiver.scratch_beside(plan.target) as scratch:
        manifest, packed = _make_files(plan, weights, scratch, indexing)
        archive_format = plan.request.archive_format
        result = archiver.pack(packed, scratch, archive_format, plan.spec.model)
        outcome = _outcome(result, plan)
        link = None
        if weights is not None:
            link = plan.request.out / "weights" / weights.hex
            if set(parts) == {""}:
                archiver.link_weights(parts[""], link)
            else:
                archiver.link_files(files, link)
        if outcome is not Outcome.UNCHANGED:
            archiver.publish(result, plan.target, replace=outcome is Outcome.REPLACED)
    sha256 = None
    if archive_format is not ArchiveFormat.NO_ARCHIVE:
        sha256 = hash_files({"": plan.target})[""].sha256
    prompts = plan.sources.golden_prompts
    index = _index(plan, manifest)
    return BuildResult(outcome, plan.target, manifest, sha256, link, prompts, index)


def _index(plan: BuildPlan, manifest: Manifest) -> Index | None:
    knowledge = plan.sources.knowledge
    if knowledge is None:
        return None
    inside = {p: e for p, e in manifest.files.items() if p.startswith(f"{INDEX}/")}
    return Index(Weights(inside).digest, len(knowledge.documents), len(knowledge.passages))


def _weights_folders(plan: BuildPlan) -> dict[str, Path]:
    """The folders of the weights by where they go: the model's own, and the guard's."""
    found = {"": _weights_folder(plan, "weights"), GUARD: _weights_folder(plan, "guard")}
    return {prefix: folder for prefix, folder in found.items() if folder is not None}


def _weights_folder(plan: BuildPlan, key: str) -> Path | None:
    """A weights' folder; one of the hub is fetched and then checked like a local one."""
    own = key == "weights"
    named = plan.spec.weights if own else plan.spec.guard
    if not isinstance(named, HubWeights):
        return plan.sources.weights if own else plan.sources.guard
    folder = download_weights(named)
    found = source_files.read_weights_folder(folder)
    mistakes = list(weights_mistakes(found, f"{key}: {named}"))
    if own and (config := plan.sources.config):
        facts = weights_facts(found, str(named))
        findings = lint(config.document, str(config.path), facts, weights_named=True)
        mistakes += as_mistakes(findings, Severity.ERROR)
    if mistakes:
        raise BadFile(SPEC_NAME, mistakes)
    return folder


def _make_files(
    plan: BuildPlan, weights: Weights | None, scratch: Path, indexing: Progress | None
) -> tuple[Manifest, dict[str, Path]]:
    """The archive's tree with its manifest, in the scratch folder."""
    sources, spec = plan.sources, plan.spec
    index: dict[str, Path] = {}
    if sources.knowledge is not None:
        index = index_files(sources.knowledge, scratch, indexing or (lambda done, total: None))
    tree = archiver.make_tree(
        scratch,
        {**sources.files, **index},
        model=spec.model,
        version=plan.request.version,
        handler=sources.handler,
        model_config=contents.MODEL_CONFIG_NAME,
        requirements=contents.REQUIREMENTS_NAME if spec.requirements else None,
    )
    manifest = Manifest(
        model=spec.model,
        version=plan.request.version,
        handler=sources.handler,
        files=hash_files(tree),
        weights=weights,
        golden=contents.GOLDEN_NAME,
    )
    written = archiver.write_file(scratch / MANIFEST_NAME, manifest.render())
    return manifest, {**tree, MANIFEST_NAME: written}


def _outcome(result: Path, plan: BuildPlan) -> Outcome:
    """What is to become of the result; raises Refused when another archive stands there."""
    target = plan.target
    if not source_files.exists(target):
        return Outcome.BUILT
    if archiver.same_content(result, target):
        return Outcome.UNCHANGED
    if not plan.request.force:
        raise Refused(
            f"{target} exists already, with other content",
            hint="give it a new --version, or replace it with --force",
        )
    return Outcome.REPLACED
