"""`tslc default`: the version that answers when a request names none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tslc.errors import Refused
from tslc.verbs.running_node import open_node, served_version


@dataclass(frozen=True)
class Defaulted:
    """`before`: the default version until now, the same when it was it already."""

    model: str
    version: str
    before: str | None
    plan: tuple[str, ...] = ()


def default(
    home: Path, node_name: str, model: str, version: str, *, dry_run: bool = False
) -> Defaulted:
    """Raises BadInput for a version that is not there, Refused for one that is not ready."""
    node = open_node(home, node_name)
    one = served_version(node, model, version)
    before = node.api.default_version(model)
    if not one.ready:
        raise Refused(
            f"{model} {version} is not ready, so it can't be the default: {one.why_not}",
            hint="tslc status",
        )
    if dry_run:
        step = f"make {version} the default of {model} instead of {before}"
        return Defaulted(model, version, before, plan=(step,))
    if before != version:
        node.api.set_default(model, version)
    return Defaulted(model, version, before)
