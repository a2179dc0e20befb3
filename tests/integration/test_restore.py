"""docs/operations.md: an environment that was put back to an earlier time, and its node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from environments import MODEL, Served, push, restarted, served
from nodes import TinyArchives, eventually
from nodes import short_folder as make_folder
from s3 import S3Server

pytestmark = pytest.mark.integration
STATE = "environments/dev/state.json"
SECOND = "environments/dev/history/0000000002.json"


@pytest.fixture
def environment(s3: S3Server, archives: TinyArchives) -> Iterator[Served]:
    with make_folder() as folder, served(s3, archives, folder) as running:
        yield running


def answering(environment: Served) -> str:
    return environment.node.ask().headers["x-tslc-version"]


def problems(environment: Served) -> str:
    return " ".join(environment("status", "--env", "dev")["nodes"][0]["problems"])


def test_a_restored_state_holds_when_the_node_has_forgotten_the_newer_one(
    environment: Served,
) -> None:
    push(environment.shop, "1.0.0", "1.1.0")
    environment("promote", MODEL, "1.0.0", "--wait")
    earlier = environment.shop.read(STATE)
    environment("promote", MODEL, "1.1.0", "--wait")

    environment.shop.overwrite(STATE, earlier)
    environment.shop.store().delete([SECOND])
    assert environment("history", "verify")["entries"] == 1
    assert eventually(lambda: "older than this node's" in problems(environment), 30)
    assert answering(environment) == "1.1.0"

    Path(environment.node.folder, "agent", "desired.json").unlink()
    before = environment.node.program("agent").pid
    environment.node.kill("agent")
    assert restarted(environment.node, "agent", before)
    assert eventually(lambda: environment("status", "--env", "dev")["as_desired"], 60)
    assert answering(environment) == "1.0.0"
    assert problems(environment) == ""
