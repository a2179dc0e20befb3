"""What the agent does to one version: load, prove, restart its workers, unload.

Each job may be cut short anywhere: the next look shows what is there, and the plan goes on from it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from tslc.adapters import node_folder, worker_door
from tslc.adapters.archive_file import VerifiedArchive, built_by_others, open_archive
from tslc.adapters.archiver import publish
from tslc.adapters.clock import wait_until
from tslc.adapters.foreign_mar import archive_version
from tslc.adapters.memory import free_memory
from tslc.adapters.node_processes import end, family, started_at, version_workers
from tslc.domain.archive_contents import MODEL_CONFIG_NAME
from tslc.domain.archive_name import ArchiveFormat, archive_name
from tslc.domain.config_document import read_document
from tslc.domain.golden import parse_golden
from tslc.domain.gpus import gib
from tslc.domain.loading import MARGIN, LoadPlan, load_plan, served_name
from tslc.domain.node import NodePaths
from tslc.domain.registration import prompts_failed
from tslc.domain.release.actual import Job
from tslc.domain.release.record import worker_key
from tslc.domain.release.room import MARGIN as ROOM
from tslc.domain.router.table import UpstreamName
from tslc.domain.served import Described
from tslc.domain.settings import Settings
from tslc.domain.store_manifest import Kind, stored_files
from tslc.errors import BadInput, Refused, RemoteFailed, TslcError
from tslc.verbs.environment import estimate
from tslc.verbs.prove import prove
from tslc.verbs.pull import pull
from tslc.verbs.register import register_stored
from tslc.verbs.running_node import RunningNode, open_node
from tslc.verbs.store_access import open_cache, open_store, read_manifest
from tslc.verbs.store_trust import checker
from tslc.verbs.unregister import unregister

DEFAULT_DEADLINE = LoadPlan(1, 120.0).deadline
_SCALE_SECONDS = 30.0
# TorchServe's first restarts come after 1, 1 and 2 seconds.
_FORGOTTEN_SECONDS = 2.5


@dataclass(frozen=True)
class Done:
    """What a job came to: workers that are proven now, by their key, with their processes' start;
    seconds in which a worker may be loading; `managed`: the agent put the version there."""

    proven: Mapping[str, float]
    grace: float = 0.0
    managed: bool = False
    unloaded: bool = False


@dataclass(frozen=True)
class Jobs:
    """The jobs of one node. Each raises TslcErrors with the reason it went wrong."""

    home: Path
    node_name: str
    paths: NodePaths
    settings: Settings
    environ: Mapping[str, str]
    report: Callable[[UpstreamName, str], None]

    def run(self, job: Job, name: UpstreamName, *, managed: bool) -> Done:
        """`managed`: the agent put the version there, from the store."""
        match job:
            case Job.LOAD:
                return self._load(name)
            case Job.PROVE:
                return self._prove(name, managed=managed)
            case Job.HEAL:
                return self._heal(name)
            case Job.UNLOAD:
                return self._unload(name)
            case other:
                assert_never(other)

    def deadline(self, name: UpstreamName) -> float:
        """Seconds in which a worker of a version that TorchServe has may be loading."""
        try:
            return self._load_plan(name).deadline
        except TslcError:
            return DEFAULT_DEADLINE

    # --- load --------------------------------------------------------------------------------

    def _load(self, name: UpstreamName) -> Done:
        store = open_store(self.settings, self.paths)
        manifest = read_manifest(store, name.model, name.version)
        need = estimate(store, manifest)
        if (left := free_memory() - need.size) < ROOM:
            raise Refused(
                f"no room: it takes {need}, {gib(left + need.size)} are free",
                hint="tslc retire another version, or --strategy recreate",
            )
        if manifest.kind is Kind.FOREIGN:
            return self._load_foreign(name)
        register_stored(
            *(self.home, self.node_name, name.model, name.version, self.settings, self.environ),
            report=lambda text: self.report(name, text),
        )
        doors = worker_door.doors_of(self.paths.run, name.model, name.version)
        return Done(_keys(name, (door.name.pid for door in doors)), managed=True)

    def _load_foreign(self, name: UpstreamName) -> Done:
        """An archive that is not ours: it has no golden prompts, and counts as proven when
        TorchServe says that its worker loaded."""
        node, check = self._node(), checker(self.settings)
        store, cache = open_store(self.settings, self.paths), open_cache(self.settings)
        file = archive_name(name.model, name.version, ArchiveFormat.MAR)
        target = self.paths.model_store / file
        with node_folder.scratch(self.paths) as scratch:
            pulled = pull(store, cache, name.model, name.version, scratch, check=check)
            inside = archive_version(pulled.archive)
            if inside != name.version:
                raise Refused(
                    f"the archive says version {inside}, the store {name.version}: TorchServe "
                    "would serve it under its own",
                    hint=f"tslc push ARCHIVE --model {name.model} --version {inside}",
                )
            with node_folder.content_locked(self.paths):
                publish(pulled.archive, target)
        node.api.register(file, DEFAULT_DEADLINE, model=name.model)
        return Done({}, grace=DEFAULT_DEADLINE, managed=True)

    # --- prove -------------------------------------------------------------------------------

    def _prove(self, name: UpstreamName, *, managed: bool) -> Done:
        """The workers that are there pass the golden prompts, or none of them counts."""
        if built_by_others(self._place(name)):
            described = self._described(name)
            return Done(_keys(name, described.ready_pids))
        archive = open_archive(self._place(name))
        if not managed:
            self._expect_stored(name, archive)
        config = self._config(archive)
        prompts = parse_golden(archive.golden, f"{archive.path}: {archive.manifest.golden}")
        doors = worker_door.doors_of(self.paths.run, name.model, name.version)
        served = served_name(config, name.model)
        results = prove(doors, prompts, served, lambda text: self.report(name, text))
        if not all(result.passed for result in results):
            raise Refused(prompts_failed(name.model, name.version, results))
        return Done(_keys(name, (door.name.pid for door in doors)), managed=True)

    def _expect_stored(self, name: UpstreamName, archive: VerifiedArchive) -> None:
        """What was registered by hand has to be what the store has under that name."""
        store = open_store(self.settings, self.paths)
        manifest = read_manifest(store, name.model, name.version)
        if dict(manifest.files) != stored_files(archive.manifest):
            named = f"{name.model} {name.version}"
            raise Refused(
                f"{named} is registered here with other content than the store's",
                hint=f"tslc unregister {named}   # the agent then loads the store's",
            )

    # --- heal --------------------------------------------------------------------------------

    def _heal(self, name: UpstreamName) -> Done:
        """To 0 workers and back: TorchServe's own restart waits longer each time, never loads a
        worker again under requests of its own, and after some deaths it gives up.

        A restart it has in mind already it still carries out after that, and forgets: such a worker
        is nobody's and has to be ended.
        """
        node, described = self._node(), self._described(name)
        plan = self._load_plan(name)
        processes = family(described.pids)
        node.api.scale(name.model, name.version, 0, wait_seconds=_SCALE_SECONDS)
        end(processes, 2.0)
        wait_until(self._end_forgotten(name), _FORGOTTEN_SECONDS, 0.1)
        node.api.scale(name.model, name.version, plan.workers)
        return Done({}, grace=plan.deadline)

    def _end_forgotten(self, name: UpstreamName) -> Callable[[], bool]:
        """Ends the version's workers; true when there were any."""

        def end_them() -> bool:
            found = version_workers(self.paths, name.model, name.version)
            end(found, 0.0)
            return bool(found)

        return end_them

    # --- unload ------------------------------------------------------------------------------

    def _unload(self, name: UpstreamName) -> Done:
        with contextlib.suppress(BadInput):  # it went meanwhile
            unregister(self.home, self.node_name, name.model, name.version, force=True)
        return Done({}, unloaded=True)

    # --- what all use ------------------------------------------------------------------------

    def _node(self) -> RunningNode:
        return open_node(self.home, self.node_name)

    def _described(self, name: UpstreamName) -> Described:
        for one in self._node().api.versions(name.model):
            if one.version == name.version:
                return one
        raise RemoteFailed(f"TorchServe has no {name.model} {name.version} any more")

    def _place(self, name: UpstreamName) -> Path:
        return self.paths.model_store / Path(self._described(name).archive).name

    def _load_plan(self, name: UpstreamName) -> LoadPlan:
        place = self._place(name)
        if built_by_others(place):
            return LoadPlan(1, DEFAULT_DEADLINE - MARGIN)
        return load_plan(self._config(open_archive(place)))

    def _config(self, archive: VerifiedArchive) -> Mapping[str, object]:
        return read_document(archive.text(MODEL_CONFIG_NAME)).section()


def _keys(name: UpstreamName, pids: Iterable[int]) -> dict[str, float]:
    """Workers as the record names them, with the start of their processes."""
    starts = {worker_key(name, pid): started_at(pid) for pid in pids}
    return {key: started for key, started in starts.items() if started is not None}
