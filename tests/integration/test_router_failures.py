"""Workers die, files change, Envoy refuses: who asks does not notice."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from nodes import eventually
from routers import Router, Worker, load, route, router, running, upstream, worker
from tslc.adapters import envoy_process
from tslc.adapters.envoy_router import EnvoyRouter
from tslc.adapters.private_files import write_private
from tslc.domain.router.table import ApiKey, RouterTable, Shadow, Sticky, StickyBy, UpstreamName

# Beside another test on two cores Envoy and the load starve each other: what is counted here are
# requests lost within milliseconds.
pytestmark = [pytest.mark.integration, pytest.mark.alone]


@pytest.fixture(scope="module")
def one(short_folder: Path) -> Iterator[Router]:
    with router(short_folder) as started:
        yield started


@pytest.fixture
def pair(short_folder: Path) -> Iterator[tuple[Worker, Worker]]:
    with worker(short_folder, "m", "1") as first, worker(short_folder, "m", "2") as second:
        yield first, second


def split(first: int, pair: tuple[Worker, Worker]) -> RouterTable:
    shares = route("m", [("1", first), ("2", 10_000 - first)])
    return RouterTable((shares,), (upstream("m", "1", pair[0]), upstream("m", "2", pair[1])))


async def until(seen: object, answers: int) -> None:
    """Wait for so many more answers."""
    target = seen.answers + answers  # type: ignore[attr-defined]
    deadline = time.monotonic() + 60
    while seen.answers < target:  # type: ignore[attr-defined]
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_a_killed_worker_fails_no_new_request_and_only_its_own_streams(
    one: Router, pair: tuple[Worker, Worker], short_folder: Path
) -> None:
    table = split(5000, pair)
    await asyncio.to_thread(one.serve, table)
    async with load(one, 60, tokens=10) as seen:
        await until(seen, 60)
        on_it = one.envoy.state().active_requests(UpstreamName("m", "1"))
        pair[0].kill()
        await until(seen, 120)
        with worker(short_folder, "m", "1", pair[0].door):
            name = UpstreamName("m", "1")
            back = await asyncio.to_thread(eventually, lambda: name in one.envoy.state().active, 10)
            assert back
            seen.versions.clear()
            await until(seen, 60)
            assert seen.versions == {"1", "2"}
    assert seen.failures == []
    # Streams are broken only where they were under way.
    assert len(seen.broken) <= on_it + 3, seen.broken


async def test_another_worker_of_the_version_answers_before_another_version(
    one: Router, short_folder: Path
) -> None:
    with (
        worker(short_folder, "m", "1") as dead,
        worker(short_folder, "m", "1") as living,
        worker(short_folder, "m", "2") as other,
    ):
        both = RouterTable(
            (route("m", [("1", 10_000)], ready=("1", "2"), spare=("1", "2")),),
            (upstream("m", "1", dead, living), upstream("m", "2", other)),
        )
        await asyncio.to_thread(one.serve, both)
        dead.kill()
        for _ in range(40):
            assert await asyncio.to_thread(one.version) == "1"


async def test_without_any_worker_the_answer_is_503_in_openais_shape(
    one: Router, short_folder: Path
) -> None:
    with worker(short_folder, "m", "1") as only:
        table = RouterTable((route("m", [("1", 10_000)]),), (upstream("m", "1", only),))
        await asyncio.to_thread(one.serve, table)
        only.kill()
        answer = await asyncio.to_thread(one.ask)
        assert answer.status_code == 503
        assert answer.json()["error"]["type"] == "ServiceUnavailableError"
        assert answer.json()["error"]["code"] == 503
        assert "x-tslc-version" not in answer.headers, "none has answered"


async def test_a_stream_that_broke_off_is_not_begun_again(
    one: Router, pair: tuple[Worker, Worker]
) -> None:
    await asyncio.to_thread(one.serve, split(10_000, pair))
    body = {
        "model": "m",
        "prompt": "w",
        "max_tokens": 1000,
        "stream": True,
        "tiny": {"delay": 0.01},
    }
    text = ""
    async with httpx.AsyncClient(base_url=one.envoy.address, timeout=30) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            async with client.stream("POST", "/v1/completions", json=body) as answer:
                async for piece in answer.aiter_text():
                    text += piece
                    if text.count("data: ") >= 5:
                        pair[0].kill()
    assert "[DONE]" not in text
    assert pair[1].generated() == 0


async def test_configuration_changes_under_load_fail_nothing(
    one: Router, pair: tuple[Worker, Worker], short_folder: Path
) -> None:
    with worker(short_folder, "m", "3") as third:
        await asyncio.to_thread(one.serve, split(5000, pair))
        ups = (*split(0, pair).upstreams, upstream("m", "3", third))
        tables = [
            split(9000, pair),
            RouterTable((route("m", [("1", 5000), ("3", 5000)]),), ups),
            RouterTable((route("m", [("3", 9000), ("2", 1000)], names=("x",)),), ups),
            RouterTable(
                (route("m", [("2", 10_000)], shadow=Shadow("3", 5000)),), ups, pinning=True
            ),
            RouterTable((route("m", [("2", 10_000)]),), ups[1:]),
            split(5000, pair),
        ]
        async with load(one, 60, tokens=20) as seen:
            for table in tables * 3:
                both = RouterTable(table.models, tuple({*table.upstreams, *ups}))
                await asyncio.to_thread(one.serve, both)
                await until(seen, 10)
                await asyncio.to_thread(one.upstreams, table)
                await until(seen, 10)
    assert (seen.failures, seen.broken) == ([], [])


def test_refused_routes_leave_the_old_ones_and_the_reason_is_told(
    one: Router, pair: tuple[Worker, Worker]
) -> None:
    table = split(10_000, pair)
    one.serve(table)
    # No header has such a name.
    split_by = replace(table.models[0], sticky=Sticky(StickyBy.HEADER, "a\nb"))
    key = ApiKey("k", "0" * 64)
    bad = RouterTable((split_by,), table.upstreams, keys=(key,))
    one.envoy.publish_routes(bad)
    assert eventually(lambda: "HeaderName" in one.envoy.state().problem, 10)
    state = one.envoy.state()
    assert key.sha256 not in state.problem
    assert not state.routes_taken
    assert state.upstreams_taken
    assert one.version() == "1"
    one.serve(split(0, pair))
    assert one.version() == "2"
    assert one.envoy.state().problem == ""


def test_refused_clusters_hold_their_routes_back(
    one: Router, pair: tuple[Worker, Worker], short_folder: Path
) -> None:
    one.serve(split(10_000, pair))
    broken = one.envoy.settings.model_copy(update={"max_requests": -1})
    publisher = EnvoyRouter(one.envoy.paths, broken)
    publisher.publish_upstreams(split(0, pair))
    assert not publisher.publish_routes(split(0, pair))
    assert eventually(lambda: "max_" in one.envoy.state().problem, 30), one.envoy.state()
    assert not one.envoy.state().upstreams_taken
    assert one.version() == "1"
    one.serve(split(0, pair))
    assert one.version() == "2"


def test_a_refused_endpoint_leaves_the_old_ones(
    one: Router, pair: tuple[Worker, Worker], short_folder: Path
) -> None:
    table = split(10_000, pair)
    one.serve(table)
    nowhere = Worker(short_folder / ("x" * 120), pair[0].process)
    one.envoy.publish_upstreams(replace(table, upstreams=(upstream("m", "1", nowhere),)))
    assert eventually(lambda: "exceeds" in one.envoy.state().problem, 30), one.envoy.state()
    assert not one.envoy.state().upstreams_taken
    assert one.version() == "1"
    one.serve(table)


def test_what_did_not_change_is_not_written_again(one: Router, pair: tuple[Worker, Worker]) -> None:
    one.serve(split(4000, pair))
    one.serve(split(4000, pair))
    files = list(one.envoy.paths.root.rglob("*.json"))
    before = {path: path.stat().st_mtime_ns for path in files}
    one.envoy.publish_upstreams(split(4000, pair))
    one.envoy.publish_routes(split(4000, pair))
    assert {path: path.stat().st_mtime_ns for path in files} == before


def test_every_file_is_its_owners_alone(one: Router, pair: tuple[Worker, Worker]) -> None:
    one.serve(split(4000, pair))
    for path in one.envoy.paths.root.rglob("*"):
        wanted = 0o700 if path.is_dir() else 0o600
        assert path.stat().st_mode & 0o777 == wanted, path
    assert one.envoy.paths.root.stat().st_mode & 0o777 == 0o700


def test_an_envoy_that_starts_again_serves_what_it_served(
    short_folder: Path, pair: tuple[Worker, Worker]
) -> None:
    with router(short_folder) as first:
        first.serve(split(10_000, pair))
        first.process.send_signal(signal.SIGKILL)
        first.process.wait(10)
        assert not first.envoy.state().reachable
        assert "does not answer" in first.envoy.state().problem
        envoy_process.prepare(first.envoy.paths, first.envoy.settings)
        with running(first.envoy.paths, first.envoy.settings):
            assert eventually(lambda: first.envoy.state().listening, 20)
            assert eventually(lambda: first.ask().status_code == 200)
            # Another tslc may write other files: nothing counts as published.
            assert not first.envoy.state().routes_taken
            first.serve(split(0, pair))
            assert first.version() == "2"


def test_a_port_that_is_taken_is_told(short_folder: Path, one: Router) -> None:
    with (
        pytest.raises(AssertionError, match="cannot bind"),
        router(short_folder, port=one.envoy.settings.port, patience=2),
    ):
        pass


def test_garbage_in_a_file_leaves_the_old_one(one: Router, pair: tuple[Worker, Worker]) -> None:
    one.serve(split(10_000, pair))
    good = json.loads(one.envoy.paths.routes.read_text())
    write_private(one.envoy.paths.routes, "{")
    assert eventually(lambda: one.version() == "1")
    assert good["version_info"] == one.envoy.state().routes_version
