"""Everything `tslc register` checks before it asks TorchServe for anything: it changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tslc.adapters import model_store
from tslc.adapters.archive_file import VerifiedArchive, open_archive
from tslc.adapters.digest_cache import DigestCache, cache_folder
from tslc.adapters.hashing import hash_files
from tslc.adapters.source_files import weights_files
from tslc.adapters.version_folder import signature_beside
from tslc.domain.archive_contents import MODEL_CONFIG_NAME
from tslc.domain.archive_name import model_name_problem, version_problem
from tslc.domain.config_document import read_document
from tslc.domain.golden import GoldenPrompt, parse_golden
from tslc.domain.loading import LoadPlan, load_plan, served_name
from tslc.domain.manifest import Weights
from tslc.domain.node import NodePaths, NodeSettings, check_socket_room, longest_door
from tslc.domain.trust import Check, Version
from tslc.errors import BadFile, BadInput, Mistake, Refused

Report = Callable[[str], None]


@dataclass(frozen=True)
class ArchiveAt:
    """An archive file or folder. `weights`: the folder of its weights, verified, which the node
    may have; else they are looked for."""

    path: Path
    weights: Path | None = None


@dataclass(frozen=True)
class BuiltIn:
    """A version whose archive lies in the node's model store or in `dist`."""

    model: str
    version: str
    dist: Path


Request = ArchiveAt | BuiltIn


@dataclass(frozen=True)
class RegisterPlan:
    """A verified archive, its weights (None for an archive without), and how it is to load.

    `file_name`: its name in the model store; `in_store`: it lies there already; `trust`: why the
    environment takes it; `own_weights`: the node may have the folder of the weights.
    """

    archive: VerifiedArchive
    file_name: str
    in_store: bool
    weights: Path | None
    own_weights: bool
    trust: str
    load: LoadPlan
    prompts: tuple[GoldenPrompt, ...]
    served_name: str

    @property
    def model(self) -> str:
        return self.archive.manifest.model

    @property
    def version(self) -> str:
        return self.archive.manifest.version

    def steps(self, paths: NodePaths) -> tuple[str, ...]:
        weights = self.archive.manifest.weights
        link = [f"link weights {weights.hex[:12]} to {self.weights}"] if weights else []
        put = [] if self.in_store else [f"put {self.archive.path} into {paths.model_store}"]
        workers = f"{self.load.workers} worker{'s' if self.load.workers > 1 else ''}"
        wait = f"wait up to {self.load.deadline:.0f} s until it is ready"
        prompts = f"try its {len(self.prompts)} golden prompts through the direct door"
        ask = f"{_register(self.model, self.version)}, {workers}"
        return (*put, *link, ask, wait, prompts, _IF)


_IF = "unregister it if any of that fails"


def _register(model: str, version: str) -> str:
    return f"register {model} {version} with TorchServe"


def stored_steps(model: str, version: str, fetch: str, paths: NodePaths) -> tuple[str, ...]:
    """What registering a version from the store would do; what is in it is not known before."""
    return (
        fetch,
        f"put the archive into {paths.model_store}, the weights into {paths.weights}",
        _register(model, version),
        "wait until it is ready, and try its golden prompts through the direct door",
        _IF,
    )


def plan_register(
    paths: NodePaths,
    settings: NodeSettings,
    request: Request,
    check: Check,
    env: Mapping[str, str],
    report: Report,
) -> RegisterPlan:
    """Find and verify the archive and its weights.

    Raises BadInput (BadFile) for what is missing or broken, Refused for what is ambiguous, not
    trusted, or needs a node that runs otherwise.
    """
    found = request.path if isinstance(request, ArchiveAt) else _find(paths, request)
    path = model_store.archive_in(found)
    report(f"verifying {path.name}")
    archive = open_archive(path)
    manifest = archive.manifest
    _check_names(request, archive)
    trust = check(Version.built(manifest), signature_beside(path))
    if "requirements.txt" in manifest.files and not settings.install_requirements:
        raise Refused(
            f"{manifest.model} {manifest.version} has requirements, and node '{settings.name}' "
            "does not install any",
            hint=f"tslc down --name {settings.name} && tslc up --name {settings.name} "
            "--install-requirements",
        )
    check_socket_room(paths, longest_door(manifest.model, manifest.version))
    config = _read_config(archive)
    name = model_store.file_name(path, manifest.model, manifest.version)
    return RegisterPlan(
        archive=archive,
        file_name=name,
        in_store=path.resolve() == (paths.model_store / name).resolve(),
        weights=_weights(paths, path, manifest.weights, request, env, report),
        own_weights=isinstance(request, ArchiveAt) and request.weights is not None,
        trust=trust,
        load=load_plan(config),
        prompts=parse_golden(archive.golden, f"{path}: {manifest.golden}"),
        served_name=served_name(config, manifest.model),
    )


def _find(paths: NodePaths, request: BuiltIn) -> Path:
    model, version = request.model, request.version
    if problem := model_name_problem(model) or version_problem(version):
        raise BadInput(
            f"'{model} {version}' can't be a model and its version: {problem}",
            hint="tslc register MODEL VERSION",
        )
    found = model_store.find_archives(model, version, (paths.model_store, request.dist))
    if not found:
        raise BadInput(
            f"there is no archive of {model} {version} in {paths.model_store} or {request.dist}",
            hint=f"tslc build archives/{model} --version {version} -o {request.dist}",
        )
    if len({open_archive(path).manifest.digest for path in found}) > 1:
        places = ", ".join(str(path) for path in found)
        raise Refused(
            f"there are different archives of {model} {version}: {places}",
            hint=f"tslc register {found[-1]}",
        )
    return found[0]


def _check_names(request: Request, archive: VerifiedArchive) -> None:
    """A renamed archive is not what its file's name says."""
    holds = (archive.manifest.model, archive.manifest.version)
    if isinstance(request, BuiltIn) and holds != (request.model, request.version):
        raise BadInput(
            f"{archive.path} holds {holds[0]} {holds[1]}", hint=f"tslc register {archive.path}"
        )


def _weights(
    paths: NodePaths,
    archive: Path,
    weights: Weights | None,
    request: Request,
    env: Mapping[str, str],
    report: Report,
) -> Path | None:
    """The folder of the weights, every byte verified; big files that did not change are cached."""
    if weights is None:
        return None
    if isinstance(request, ArchiveAt) and request.weights is not None:
        return request.weights
    dist = request.dist if isinstance(request, BuiltIn) else Path("dist")
    places = (paths.weights, dist.absolute() / "weights")
    beside = model_store.weights_beside(archive, weights.hex)
    folder = beside or model_store.find_weights(weights.hex, places)
    if folder is None:
        linked = archive.absolute().parent / "weights" / weights.hex
        raise BadInput(
            f"the weights of {archive.name} are in none of "
            + ", ".join(f"{place / weights.hex[:12]}…" for place in (linked.parent, *places)),
            hint=f"ln -s WEIGHTS_FOLDER {linked}",
        )

    def progress(done: int, total: int) -> None:
        report(f"verifying weights: {done / max(total, 1):.0%}")

    cache = DigestCache(cache_folder(env))
    found = Weights(hash_files(weights_files(folder), cache=cache, progress=progress))
    if found.digest != weights.digest:
        changed = sorted(
            path
            for path in {*found.files, *weights.files}
            if found.files.get(path) != weights.files.get(path)
        )
        raise BadInput(
            f"the weights in {folder} are not those the archive was built with: "
            f"{', '.join(changed[:5])}{' …' if len(changed) > 5 else ''}",
            hint="put the original files back, or build a new version",
        )
    return folder


def _read_config(archive: VerifiedArchive) -> Mapping[str, object]:
    document = read_document(archive.model_config)
    if broken := document.problem:
        where = f"{MODEL_CONFIG_NAME} line {broken.line}"
        problem = Mistake(where, broken.problem, "build the archive again", broken.line)
        raise BadFile(str(archive.path), [problem])
    return document.section()
