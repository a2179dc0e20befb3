"""`tslc unregister`: take a version off the node, with its files, and see its processes end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tslc.adapters import model_store, node_folder
from tslc.adapters.node_processes import Process, end, family, name_of, wait_gone
from tslc.adapters.stop_signals import uninterrupted
from tslc.domain.served import Described, ServedVersion, successor
from tslc.errors import BadInput, Refused, RemoteFailed
from tslc.verbs.running_node import RunningNode, open_node, served_version, served_versions

GONE_SECONDS = 10.0


@dataclass(frozen=True)
class Unregistered:
    """`new_default`: the version that answers from now on when none is named, if that changed.
    `ended`: processes of the version that outlived it and were ended."""

    model: str
    version: str
    new_default: str | None = None
    ended: tuple[str, ...] = ()
    plan: tuple[str, ...] = ()


def unregister(
    home: Path,
    node_name: str,
    model: str,
    version: str,
    *,
    force: bool = False,
    dry_run: bool = False,
    report: Callable[[str], None] = lambda _: None,
) -> Unregistered:
    """Raises BadInput for a version that is not there, Refused for the default version while there
    are others (unless forced: then the newest ready one becomes the default), and while another
    command works on the version. Once begun it is not interrupted."""
    node = open_node(home, node_name)
    one = served_version(node, model, version)
    heir = _heir(node, one, force)
    if dry_run:
        steps = [f"make {heir.version} the default of {model}"] if heir else []
        steps.append(f"unregister {model} {version}, workers {[d.pid for d in one.doors]}")
        return Unregistered(model, version, heir.version if heir else None, plan=tuple(steps))
    with node_folder.version_locked(node.paths, model, version), uninterrupted():
        described = [d for d in node.api.versions(model) if d.version == version]
        if not described:
            raise BadInput(f"{model} {version} went meanwhile", hint="tslc status")
        if heir:
            node.api.set_default(model, heir.version)
        report(f"unregistering {model} {version}")
        pids = {*described[0].pids, *(door.pid for door in one.doors)}
        ended = take_off(node, described[0], family(pids))
        archive = node.paths.model_store / Path(described[0].archive).name
        with node_folder.content_locked(node.paths):
            model_store.remove_archive(archive, node.paths.weights)
    return Unregistered(model, version, heir.version if heir else None, ended)


def take_off(node: RunningNode, one: Described, processes: Sequence[Process]) -> tuple[str, ...]:
    """Unregister, wait for the end of the processes, end those that stay; their names.

    Raises RemoteFailed when one won't end.
    """
    node.api.unregister(one.model, one.version)
    left = wait_gone(processes, GONE_SECONDS)
    names = tuple(name_of(process) for process in left)
    if stuck := end(left, 2.0):
        pids = " ".join(str(process.pid) for process in stuck)
        raise RemoteFailed(
            f"{one.model} {one.version} is unregistered, but its processes won't end: {pids}",
            hint=f"kill -9 {pids}",
        )
    return names


def _heir(node: RunningNode, one: ServedVersion, force: bool) -> ServedVersion | None:
    """The version to become the default first, if one has to: TorchServe keeps a default."""
    versions = served_versions(node, one.model)
    if not one.default or len(versions) == 1:
        return None
    heir = successor(versions, one.version)
    others = ", ".join(other.version for other in versions if other.version != one.version)
    if not force or heir is None:
        why = "is the default version" + ("" if heir else ", and no other is ready")
        raise Refused(
            f"{one.model} {one.version} {why}; there are also {others}",
            hint=f"tslc default {one.model} {heir.version if heir else others.split(', ')[-1]}",
        )
    return heir
