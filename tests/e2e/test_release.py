"""A release with the real engine and a real model: canary, promotion, rollback, retirement and a
dead agent, while users ask; no request fails and no stream breaks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import assert_gone, family

from environments import Served, restarted, served
from nodes import Cli, TinyArchives, eventually
from nodes import short_folder as make_folder
from s3 import weed
from traffic import Traffic, flowing

pytestmark = pytest.mark.timeout(900)
SPEC = Path(__file__).parents[2] / "archives" / "quickstart"
MODEL = "quickstart"
ADA = "You are Ada, the support bot of a lighthouse museum. Answer in one short sentence."


@pytest.fixture(scope="module")
def environment() -> Iterator[Served]:
    with weed() as server, make_folder() as folder:
        archives = TinyArchives(Cli(folder / "none", folder), folder)
        with served(server, archives, folder) as running:
            for version, more in (
                ("1.0.0", ()),
                ("1.1.0", ("--set", f"handler.system_prompt={ADA}")),
            ):
                running("build", SPEC, "--version", version, "-o", folder / "dist", *more)
                running("push", folder / "dist" / f"{MODEL}-{version}.mar")
            running("promote", MODEL, "1.0.0", "--wait")
            yield running
            everything = family(*running.node.workers("1.0.0", MODEL))
            assert len(everything) >= 4
        assert_gone(everything)
        assert running.node.node.processes() == []


def test_a_release_of_a_real_model_fails_no_request(environment: Served) -> None:
    node = environment.node
    with flowing(Traffic(node.url, MODEL, per_second=1.0, tokens=4, delay=0.0)) as traffic:
        environment("split", MODEL, "1.0.0=50", "1.1.0=50", "--wait")
        assert eventually(lambda: len(traffic.versions()) == 2, 120)
        environment("promote", MODEL, "1.1.0", "--wait")
        before = node.program("agent").pid
        node.kill("agent")
        assert restarted(node, "agent", before)
        environment("rollback", MODEL, "--wait")
        unloaded = family(*node.workers("1.1.0", MODEL))
        environment("retire", MODEL, "1.1.0", "--wait")
        assert_gone(unloaded, 10.0)
        told = len(traffic.answers)
        assert eventually(lambda: len(traffic.answers) > told + 5, 60)
    assert traffic.failures() == []
    assert set(traffic.versions()) == {"1.0.0", "1.1.0"}
    assert set(node.versions(MODEL)) == {"1.0.0"}
