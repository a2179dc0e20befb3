"""A split is as exact as its weights, and a user stays with the version he has."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from routers import Router, route, router, upstream, versions_of, worker
from tslc.domain.router.table import RouterTable, Segment, Sticky, StickyBy, Upstream

pytestmark = pytest.mark.integration
USERS = 20_000
BY_USER = Sticky(StickyBy.HEADER, "x-user-id")
BY_COOKIE = Sticky(StickyBy.COOKIE, "who")
VERSIONS = ("1.0.0", "1.1.0", "1.2.0")


@pytest.fixture(scope="module")
def upstreams(short_folder: Path) -> Iterator[tuple[Upstream, ...]]:
    with ExitStack() as stack:
        workers = {
            version: stack.enter_context(worker(short_folder, "m", version, fast=True))
            for version in VERSIONS
        }
        yield tuple(upstream("m", version, one) for version, one in workers.items())


@pytest.fixture(scope="module")
def running(short_folder: Path) -> Iterator[Router]:
    with router(short_folder) as one:
        yield one


def users(count: int, first: int = 0) -> list[dict[str, str]]:
    return [{"x-user-id": f"user-{number}"} for number in range(first, first + count)]


def lies_within(hits: int, total: int, share: float) -> bool:
    """Whether so many hits are in the 99% interval of the binomial distribution (normal
    approximation, which is good for total * share * (1 - share) > 9)."""
    return abs(hits - total * share) <= 2.576 * math.sqrt(total * share * (1 - share)) + 0.5


@pytest.mark.parametrize(("old", "new"), [(9000, 1000), (9950, 50)])
async def test_a_split_of_users_lies_in_the_binomial_interval(
    running: Router, upstreams: tuple[Upstream, ...], old: int, new: int
) -> None:
    split = route("m", [("1.0.0", old), ("1.1.0", new)], sticky=BY_USER)
    running.serve(RouterTable((split,), upstreams))
    found = Counter(await versions_of(running, users(USERS)))
    assert set(found) == {"1.0.0", "1.1.0"}
    assert lies_within(found["1.1.0"], USERS, new / 10_000), found


async def test_a_split_of_strangers_is_drawn_for_each_request(
    running: Router, upstreams: tuple[Upstream, ...]
) -> None:
    split = route("m", [("1.0.0", 7000), ("1.1.0", 3000)], sticky=BY_USER)
    running.serve(RouterTable((split,), upstreams))
    found = Counter(await versions_of(running, [{}] * 4000))
    assert found["1.0.0"] + found["1.1.0"] == 4000
    # Not a law but a draw: wide enough for one in many millions.
    assert abs(found["1.1.0"] - 1200) < 6 * math.sqrt(4000 * 0.21)


async def test_a_user_never_flaps(running: Router, upstreams: tuple[Upstream, ...]) -> None:
    split = route("m", [("1.0.0", 5000), ("1.1.0", 5000)], sticky=BY_USER)
    running.serve(RouterTable((split,), upstreams))
    first = await versions_of(running, users(1000))
    assert await versions_of(running, users(1000)) == first
    running.serve(RouterTable((replace(split, names=("n",)),), upstreams))
    assert await versions_of(running, users(1000)) == first


async def test_a_larger_share_takes_users_and_gives_none_back(
    running: Router, upstreams: tuple[Upstream, ...]
) -> None:
    before: list[str] = []
    for new in (1000, 5000, 10_000):
        split = route("m", [("1.0.0", 10_000 - new), ("1.1.0", new)], sticky=BY_USER)
        running.serve(RouterTable((split,), upstreams))
        after = await versions_of(running, users(3000))
        left = [one for one, other in zip(before, after, strict=False) if one > other]
        assert left == []
        before = after
    assert set(before) == {"1.1.0"}


async def test_a_version_may_have_several_segments(
    running: Router, upstreams: tuple[Upstream, ...]
) -> None:
    """The segments of a third version are cut out of both others': nobody else moves."""
    two = route("m", [("1.0.0", 6000), ("1.1.0", 4000)], sticky=BY_USER)
    running.serve(RouterTable((two,), upstreams))
    before = await versions_of(running, users(3000))
    cut = [("1.0.0", 5000), ("1.2.0", 1000), ("1.1.0", 3000), ("1.2.0", 500), ("1.1.0", 500)]
    running.serve(RouterTable((route("m", cut, sticky=BY_USER),), upstreams))
    after = await versions_of(running, users(3000))
    moved = {(one, other) for one, other in zip(before, after, strict=True) if one != other}
    assert moved == {("1.0.0", "1.2.0"), ("1.1.0", "1.2.0")}
    assert lies_within(after.count("1.2.0"), 3000, 0.15)


async def test_a_segment_of_nothing_gets_nobody(
    running: Router, upstreams: tuple[Upstream, ...]
) -> None:
    split = route("m", [("1.0.0", 0), ("1.1.0", 10_000)], sticky=BY_USER)
    running.serve(RouterTable((split,), upstreams))
    assert set(await versions_of(running, users(500))) == {"1.1.0"}
    assert split.segments[0] == Segment("1.0.0", 0)


def test_a_cookie_holds_from_the_first_answer_on(
    running: Router, upstreams: tuple[Upstream, ...]
) -> None:
    split = route("m", [("1.0.0", 5000), ("1.1.0", 5000)], sticky=BY_COOKIE)
    running.serve(RouterTable((split,), upstreams))

    def visit() -> set[str]:
        with httpx.Client(base_url=running.envoy.address, verify=False) as browser:
            found = set()
            first = browser.post("/v1/fast", json={"model": "m"})
            made = first.headers["set-cookie"]
            assert made.startswith("who=")
            assert "Path=/" in made
            assert "Expires" not in made
            assert "Max-Age" not in made
            found.add(first.headers["x-tslc-version"])
            for _ in range(5):
                again = browser.post("/v1/fast", json={"model": "m"})
                assert "set-cookie" not in again.headers
                found.add(again.headers["x-tslc-version"])
            return found

    visits = [visit() for _ in range(40)]
    assert all(len(found) == 1 for found in visits)
    assert set.union(*visits) == {"1.0.0", "1.1.0"}
