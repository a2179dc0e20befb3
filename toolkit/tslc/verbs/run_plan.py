"""Everything `tslc run` decides before it starts anything: what MODEL is, where it is served, with
which settings. Nothing is made, fetched or loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import assert_never

from tslc.adapters import source_files
from tslc.adapters.listen_address import listen_problem, reachable_host
from tslc.adapters.loopback_ports import HOST, pick_free
from tslc.adapters.memory import free_memory
from tslc.adapters.ts_launcher import launcher_config
from tslc.adapters.vllm_source import read_engine_fields
from tslc.domain.archive_name import model_name_problem
from tslc.domain.archive_spec import SPEC_NAME, draft_spec
from tslc.domain.config_document import read_document, with_settings
from tslc.domain.launcher_flags import EngineFlag, engine_values
from tslc.domain.lint_rules import Severity
from tslc.domain.memory import WeightsFacts
from tslc.domain.quick_run import (
    CPU_SPACE,
    DEFAULT_NAME,
    STARTUP_SECONDS,
    VERSION,
    Machine,
    QuickConfig,
    QuickModel,
    ServerKind,
    quick_config,
)
from tslc.domain.weights import weights_facts, weights_mistakes
from tslc.errors import BadFile, BadInput, Refused
from tslc.verbs.build_sources import as_mistakes, lint
from tslc.verbs.run_source import (
    BuiltSource,
    FolderSource,
    HubSource,
    Source,
    SpecSource,
    find_source,
)

_LOOPBACK = (HOST, "localhost", "::1")


@dataclass(frozen=True)
class RunRequest:
    """What the command line says; None: nothing. Port 0 is any free one."""

    model: str
    server: ServerKind = ServerKind.UVICORN
    model_name: str | None = None
    model_store: Path | None = None
    startup_timeout: int | None = None
    dtype: str | None = None
    engine_flags: tuple[EngineFlag, ...] = ()
    overrides: tuple[str, ...] = ()
    host: str = HOST
    port: int | None = None
    token_auth: bool = True


@dataclass(frozen=True)
class RunPlan:
    """`base` is what ts.llm_launcher would write, `config` the model config made of it; both are
    empty for what brings a config of its own. `engine` are the engine's arguments as given."""

    request: RunRequest
    source: Source
    model: str
    version: str
    port: int
    base: Mapping[str, object]
    engine: Mapping[str, object]
    machine: Machine
    config: QuickConfig = field(default_factory=lambda: QuickConfig(""))

    @property
    def host(self) -> str:
        return self.request.host

    @property
    def server_url(self) -> str:
        return f"http://{reachable_host(self.host)}:{self.port}"

    @property
    def url(self) -> str:
        """What an OpenAI client takes as its base URL."""
        bridge = f"/predictions/{self.model}/{self.version}"
        return f"{self.server_url}{bridge if self.torchserve else ''}/v1"

    @property
    def torchserve(self) -> bool:
        return self.request.server is ServerKind.TORCHSERVE

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know before it starts."""
        if self.torchserve or self.host in _LOOPBACK:
            return self.config.remarks
        open_to = f"whoever reaches {self.host}:{self.port} may use the model: no key is asked for"
        return (*self.config.remarks, open_to)

    def overrides(self) -> tuple[str, ...]:
        """The engine's arguments and the other settings, for a model config that is there."""
        prefix = "handler.vllm_engine_config."
        engine = [f"{prefix}{name}={json.dumps(value)}" for name, value in self.engine.items()]
        timeout = self.request.startup_timeout
        startup = [f"startupTimeout={timeout}"] if timeout else []
        return (*startup, *engine, *self.request.overrides)

    def steps(self) -> tuple[str, ...]:
        with_host = "TorchServe" if self.torchserve else "uvicorn"
        return (*_making(self), f"serve {self.model} {self.version} with {with_host} on {self.url}")


def _making(plan: RunPlan) -> Iterator[str]:
    match plan.source:
        case BuiltSource(archive):
            yield f"take the archive {archive.path}"
        case SpecSource(path):
            yield f"build an archive from {path}"
        case FolderSource(path):
            yield f"make an archive that serves {path}"
        case HubSource() as source:
            yield f"fetch {source} unless it is here already"
            yield "make an archive that serves it"
        case other:
            assert_never(other)


def plan_run(request: RunRequest, env: Mapping[str, str]) -> RunPlan:
    """Check the request.

    Raises BadInput (BadFile) for an address that can't be had, a MODEL that is nothing known, flags
    that don't go together and settings that can't work.
    """
    port = _check_address(request)
    engine = engine_values(request.engine_flags, read_engine_fields())
    if request.dtype is not None:
        engine.setdefault("dtype", request.dtype)
    source = find_source(request.model, engine)
    _check_flags(request, source)
    model, version = _named(request, source, env)
    machine = Machine(free_memory(), env.get(CPU_SPACE))
    plan = RunPlan(request, source, model, version, port, {}, engine, machine)
    match source:
        case BuiltSource() | SpecSource():
            return plan
        case FolderSource(path):
            base = launcher_config(str(path), request.startup_timeout or STARTUP_SECONDS)
            return configured(replace(plan, base=base), path)
        case HubSource() as hub:
            base = launcher_config(hub.weights.repo, request.startup_timeout or STARTUP_SECONDS)
            return configured(replace(plan, base=base), None)
        case other:
            assert_never(other)


def configured(plan: RunPlan, folder: Path | None) -> RunPlan:
    """The plan with its model config, for the weights in `folder` (None: not here yet).

    Raises BadFile for weights and for settings that can't be served.
    """
    facts = _facts(folder) if folder else None
    said = plan.request.model
    path = str(source_files.absolute(folder)) if folder else said
    model = QuickModel(plan.model, said, path, plan.engine)
    config = quick_config(plan.base, model, plan.machine, facts)
    subject = "the model config of this run"
    document, mistakes = with_settings(read_document(config.text), plan.request.overrides)
    found = lint(document, subject, facts, weights_named=True)
    if errors := [*mistakes, *as_mistakes(found, Severity.ERROR)]:
        raise BadFile(subject, errors)
    remarks = (*config.remarks, *map(str, as_mistakes(found, Severity.WARNING)))
    return replace(plan, config=QuickConfig(document.text, remarks))


def _facts(folder: Path) -> WeightsFacts:
    found = source_files.read_weights_folder(folder)
    if mistakes := weights_mistakes(found, str(folder)):
        raise BadFile(str(folder), mistakes)
    return weights_facts(found, folder.name)


def _check_address(request: RunRequest) -> int:
    if request.server is ServerKind.TORCHSERVE and request.host != HOST:
        raise BadInput(
            f"--host {request.host}: TorchServe is only run on {HOST}",
            hint="--server uvicorn   # listens where you say",
        )
    if request.port == 0:
        return pick_free(1)[0]
    port = request.server.port if request.port is None else request.port
    if problem := listen_problem(request.host, port):
        raise BadInput(problem, hint="--port 0   # takes any free port")
    return port


def _check_flags(request: RunRequest, source: Source) -> None:
    """An archive is served as it was built; a spec says itself what its model is called."""
    said: dict[str, object] = {"--model_name": request.model_name}
    if isinstance(source, BuiltSource):
        said |= {
            "--vllm_engine.*": request.engine_flags,
            "--dtype": request.dtype,
            "--set": request.overrides,
            "--startup_timeout": request.startup_timeout,
            "--model_store": request.model_store,
        }
    if isinstance(source, HubSource | FolderSource) or not any(said.values()):
        return
    flags = ", ".join(flag for flag, value in said.items() if value)
    if isinstance(source, SpecSource):
        raise BadInput(f"{flags}: {SPEC_NAME} names the model", hint=f"change {source.path}")
    raise BadInput(
        f"{flags}: an archive is served as it was built",
        hint="tslc build SPEC --version ANOTHER --set KEY=VALUE",
    )


def _named(request: RunRequest, source: Source, env: Mapping[str, str]) -> tuple[str, str]:
    if isinstance(source, BuiltSource):
        manifest = source.archive.manifest
        if "requirements.txt" in manifest.files:
            raise Refused(
                f"{manifest.model} {manifest.version} has requirements, which `tslc run` does not "
                "install",
                hint=f"tslc up --install-requirements && tslc register {source.archive.path}",
            )
        return manifest.model, manifest.version
    if isinstance(source, SpecSource):
        spec = source.path / SPEC_NAME if source_files.is_folder(source.path) else source.path
        return draft_spec(source_files.read_text(spec), env).spec.model or DEFAULT_NAME, VERSION
    name = request.model_name or DEFAULT_NAME
    if problem := model_name_problem(name):
        raise BadInput(f"--model_name: {problem}", hint=f"--model_name {DEFAULT_NAME}")
    return name, VERSION
