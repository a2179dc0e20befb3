"""One node with the real vLLM and the demo model, for all tests of this folder.

A load takes half a minute and more: tests share the loaded version, and those that end it run last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

import nodes
from nodes import Cli, Node, start_node
from tslc.adapters.node_processes import wait_gone

MODEL, VERSION = "quickstart", "1.0.0"
_HERE = Path(__file__).parent
_SPEC = Path(__file__).parents[2] / "archives" / MODEL
_RUN_LAST = "test_engine_death.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here is e2e; what ends the shared version comes after what uses it."""
    own = [item for item in items if _HERE in item.path.parents]
    for item in own:
        item.add_marker(pytest.mark.e2e)
    ordered = iter(sorted(own, key=lambda item: item.path.name == _RUN_LAST))
    items[:] = [next(ordered) if _HERE in item.path.parents else item for item in items]


@dataclass(frozen=True)
class Quickstart:
    """The demo version on its node. Clients of the doors have `/v1/...` below their base URL."""

    node: Node
    archive: Path

    def door(self) -> Path:
        return self.node.door(MODEL, VERSION)

    def direct(self) -> httpx.Client:
        transport = httpx.HTTPTransport(uds=str(self.door()))
        return httpx.Client(transport=transport, base_url="http://door/", timeout=60)

    def bridge(self) -> httpx.Client:
        return httpx.Client(
            base_url=f"{self.node.inference_url}/predictions/{MODEL}/{VERSION}",
            headers={"authorization": f"Bearer {self.node.inference_key()}"},
            timeout=60,
        )


@pytest.fixture(scope="package")
def short_folder() -> Iterator[Path]:
    with nodes.short_folder() as folder:
        yield folder


@pytest.fixture(scope="package")
def archive(short_folder: Path) -> Path:
    builder = Cli(short_folder / "none", short_folder)
    builder.ok("build", _SPEC, "--version", VERSION, "-o", short_folder / "dist")
    return short_folder / "dist" / f"{MODEL}-{VERSION}.mar"


@pytest.fixture(scope="package")
def quickstart(short_folder: Path, archive: Path) -> Iterator[Quickstart]:
    """Registered, which includes that it answered its golden prompts."""
    home = short_folder / "n"
    home.mkdir()
    cli = Cli(home, home)
    node = start_node(cli)
    try:
        cli.ok("register", archive)
        yield Quickstart(node, archive)
    finally:
        cli("down")
    assert node.processes() == []


def family(worker: int) -> list[psutil.Process]:
    """The worker with its reaper and vLLM's processes."""
    process = psutil.Process(worker)
    return [process, *process.children(recursive=True)]


def assert_gone(processes: list[psutil.Process], seconds: float = 5.0) -> None:
    assert wait_gone(processes, seconds) == ()
