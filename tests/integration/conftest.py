"""A real TorchServe for the whole session, and archives of the tiny engine to load into it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

import nodes
from guard_server import GuardServer, guard_server
from guarded import BAD
from nodes import Cli, Node, TinyArchives, start_node
from s3 import S3Server, weed
from store_shop import Shop
from tslc.adapters import supervisor
from tslc.adapters.node_processes import kill, node_processes
from tslc.domain.node import NodePaths
from tslc.verbs.up import _end_all

_homes = count()


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    with nodes.short_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def archives(short_folder: Path) -> TinyArchives:
    folder = short_folder / "specs"
    folder.mkdir()
    return TinyArchives(Cli(short_folder / "none", folder), folder)


@pytest.fixture
def cli(short_folder: Path) -> Iterator[Cli]:
    """A command with an empty home; a node it starts is killed: asked to end, TorchServe takes two
    seconds over it."""
    home = short_folder / f"h{next(_homes)}"
    home.mkdir()
    cli = Cli(home, home)
    yield cli
    for state in (home / "nodes").glob("*"):
        paths = NodePaths(state)
        supervisor.end_supervisor(paths)
        while left := node_processes(paths):
            kill(left)
        _end_all(paths)


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """A real S3 server: let each test use a bucket of its own."""
    with weed() as server:
        yield server


@pytest.fixture
def shop(s3: S3Server, archives: TinyArchives, tmp_path: Path) -> Shop:
    return Shop(s3, s3.new_bucket(), archives, tmp_path)


@pytest.fixture(scope="session")
def node(short_folder: Path) -> Iterator[Node]:
    """One node for all tests: let each use model names of its own."""
    home = short_folder / "n"
    home.mkdir()
    cli = Cli(home, home)
    running = start_node(cli)
    yield running
    cli.ok("down")
    assert running.processes() == []


@pytest.fixture(scope="module")
def module_guard() -> Iterator[GuardServer]:
    with guard_server(BAD) as running:
        yield running


@pytest.fixture
def guard(module_guard: GuardServer) -> GuardServer:
    """A guard behind a socket that has heard nothing yet."""
    module_guard.reset()
    return module_guard
