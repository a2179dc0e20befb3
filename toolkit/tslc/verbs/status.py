"""`tslc status`: what the node serves, as its workers' doors tell it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tslc.domain.served import ServedVersion
from tslc.verbs.running_node import RunningNode, open_node, served_versions


@dataclass(frozen=True)
class Status:
    node: RunningNode
    versions: tuple[ServedVersion, ...]


def status(home: Path, node_name: str) -> Status:
    """Raises NotRunning when the node is not running."""
    node = open_node(home, node_name)
    return Status(node, served_versions(node))
