"""The running node the other verbs work with, and what it serves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tslc.adapters import supervisor, torchserve_process, worker_door
from tslc.adapters.node_folder import read_state
from tslc.adapters.torchserve_api import TorchServeApi
from tslc.domain.node import NodePaths, NodeSettings, node_paths
from tslc.domain.served import Described, DoorReport, ServedVersion, natural_order
from tslc.errors import BadInput, NotRunning


@dataclass(frozen=True)
class RunningNode:
    paths: NodePaths
    settings: NodeSettings
    pid: int
    started: str
    api: TorchServeApi


def open_node(home: Path, name: str) -> RunningNode:
    """Raises NotRunning when the node has never run, was stopped, or its TorchServe died.

    `pid` and `started` are those of the TorchServe that runs now.
    """
    paths = node_paths(home, name)
    state = read_state(paths)
    named = "" if name == "default" else f" --name {name}"
    run = torchserve_process.running(paths)
    if state is None or state.pid is None:
        raise NotRunning(f"node '{name}' is not running", hint=f"tslc up{named}")
    if run is None and supervisor.is_running(paths):
        raise NotRunning(
            f"TorchServe of node '{name}' ended and is being started again",
            hint=f"tslc up{named}   # waits for it; its log: {paths.console}",
        )
    if run is None:
        raise NotRunning(f"node '{name}' is not running", hint=f"tslc up{named}")
    key_file = paths.key_file if state.settings.token_auth else None
    api = TorchServeApi(state.settings.ports, key_file, name)
    return RunningNode(paths, state.settings, run.pid, run.since, api)


def served_versions(node: RunningNode, model: str | None = None) -> tuple[ServedVersion, ...]:
    """All versions of the node, or of one model, each door asked whether it is ready."""
    models = (model,) if model is not None else node.api.models()
    doors = worker_door.doors(node.paths.run)
    wanted = [door for door in doors if model in (None, door.name.model)]
    reports = worker_door.probe(wanted)
    found = []
    for name in models:
        default = node.api.default_version(name)
        for one in node.api.versions(name):
            reported = [
                report
                for door, report in reports.items()
                if (door.model, door.version) == (one.model, one.version)
            ]
            found.append(_served(one, default, reported))
    return natural_order(found)


def served_version(node: RunningNode, model: str, version: str | None) -> ServedVersion:
    """One version, or the default one; raises BadInput when the node has no such version."""
    versions = served_versions(node, model)
    for one in versions:
        if one.version == version or (version is None and one.default):
            return one
    if not versions:
        raise BadInput(f"no model '{model}' is registered", hint="tslc status")
    known = ", ".join(one.version for one in versions)
    raise BadInput(f"{model} has no version {version}, only {known}", hint="tslc status")


def _served(one: Described, default: str | None, reports: list[DoorReport]) -> ServedVersion:
    return ServedVersion(
        model=one.model,
        version=one.version,
        default=one.version == default,
        workers=one.workers,
        archive=one.archive,
        doors=tuple(reports),
    )
