"""Laws of the files Envoy is given, whatever the table."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tslc.domain.router.bootstrap import render_bootstrap
from tslc.domain.router.clusters import render_endpoints
from tslc.domain.router.discovery import version_of
from tslc.domain.router.files import route_file, upstream_files
from tslc.domain.router.listener import _others, render_certificate, render_listener
from tslc.domain.router.model_routes import chains, clusters_named
from tslc.domain.router.names import version_cluster
from tslc.domain.router.settings import RouterPaths, RouterSettings
from tslc.domain.router.table import (
    WHOLE,
    ApiKey,
    ModelRoute,
    RouterTable,
    Segment,
    Shadow,
    Sticky,
    StickyBy,
    Upstream,
    UpstreamName,
)

PATHS = RouterPaths(Path("/node/router"))
SETTINGS = RouterSettings(port=8000, hash_salt="salt-salt-salt-salt", bridge_port=8080)
VERSIONS = ("1.0.0", "1.1.0+b.1", "2.0.0-rc.1")
MODELS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True)


@st.composite
def segments(draw: st.DrawFn) -> tuple[Segment, ...]:
    cuts = sorted(draw(st.lists(st.integers(0, WHOLE), max_size=5)))
    weights = [end - start for start, end in zip([0, *cuts], [*cuts, WHOLE], strict=True)]
    return tuple(Segment(draw(st.sampled_from(VERSIONS)), weight) for weight in weights)


@st.composite
def model_routes(draw: st.DrawFn, model: str) -> ModelRoute:
    by = draw(st.sampled_from(list(StickyBy)))
    return ModelRoute(
        model=model,
        segments=draw(st.one_of(st.just(()), segments())),
        ready=VERSIONS,
        spare=tuple(draw(st.permutations(VERSIONS))[: draw(st.integers(0, 3))]),
        sticky=draw(st.sampled_from([None, Sticky(by, "who")])),
        shadow=draw(st.sampled_from([None, Shadow("1.0.0", 500)])),
        names=tuple(draw(st.lists(st.text(min_size=1, max_size=12), max_size=3, unique=True))),
        bridge=draw(st.booleans()),
    )


@st.composite
def tables(draw: st.DrawFn) -> RouterTable:
    """Every version of every model has an upstream."""
    models = draw(st.lists(MODELS, max_size=3, unique=True))
    routes = tuple(draw(model_routes(model)) for model in models)
    upstreams = tuple(
        Upstream(UpstreamName(one.model, version), (Path(f"/run/{version}.sock"),), one.bridge)
        for one in routes
        for version in VERSIONS
    )
    keys = draw(st.lists(st.text(min_size=1, max_size=9), max_size=3, unique=True))
    rates = st.one_of(st.none(), st.integers(0, 1000))
    return RouterTable(
        models=routes,
        upstreams=upstreams,
        keys=tuple(ApiKey(name, f"{at:064x}", draw(rates)) for at, name in enumerate(keys)),
        pinning=draw(st.booleans()),
        bridge_key=draw(st.one_of(st.none(), st.just("bridge%key"))),
    )


def parts(found: Any, name: str) -> Iterator[Any]:
    """Every value under that name, wherever it is."""
    if isinstance(found, dict):
        for key, value in found.items():
            if key == name:
                yield value
            yield from parts(value, name)
    elif isinstance(found, list):
        for value in found:
            yield from parts(value, name)


def resources(content: str) -> Any:
    return json.loads(content)["resources"]


@given(tables())
def test_the_weights_are_the_segments_in_their_order(table: RouterTable) -> None:
    document = resources(route_file(table, SETTINGS).routes.content)
    for weighted in parts(document, "weighted_clusters"):
        weights = [one["weight"] for one in weighted["clusters"]]
        assert sum(weights) == WHOLE
        assert all(weights)
    drawn = [
        [one["weight"] for one in weighted["clusters"]]
        for weighted in parts(document, "weighted_clusters")
    ]
    ours = [one for one in table.models if one.segments and not one.bridge]
    bridged = [one for one in table.models if one.segments and one.bridge]
    wanted = [[s.weight for s in one.segments if s.weight] for one in (*ours, *ours, *bridged)]
    assert drawn == wanted


@given(tables())
def test_routes_lead_only_to_clusters_that_are_written_before(table: RouterTable) -> None:
    file = route_file(table, SETTINGS)
    document = resources(file.routes.content)
    routes = list(parts(document, "route"))
    named = {one["cluster"] for one in routes if "cluster" in one}
    for weighted in parts(document, "weighted_clusters"):
        named |= {one["name"] for one in weighted["clusters"]}
    for mirrored in parts(document, "request_mirror_policies"):
        named |= {one["cluster"] for one in mirrored}
    assert named <= file.named
    written = upstream_files(table.upstreams, chains(table), PATHS, SETTINGS)
    clusters = {one["name"] for one in resources(written.clusters.content)}
    assert file.named <= clusters
    assert clusters_named(table) == file.named


@given(tables())
def test_a_version_of_a_file_is_the_digest_of_what_it_says(table: RouterTable) -> None:
    file = route_file(table, SETTINGS).routes
    assert route_file(table, SETTINGS).routes == file
    assert version_of(file.content) == file.version
    other = replace(table, keys=(*table.keys, ApiKey("one-more-key", "f" * 64)))
    assert route_file(other, SETTINGS).routes.version != file.version


@given(tables())
def test_every_file_is_json_in_ascii(table: RouterTable) -> None:
    written = upstream_files(table.upstreams, chains(table), PATHS, SETTINGS)
    contents = [route_file(table, SETTINGS).routes.content, written.clusters.content]
    contents += [one.content for one in written.endpoints.values()]
    contents += [render_listener(PATHS, SETTINGS).content, render_bootstrap(PATHS, SETTINGS)]
    for content in contents:
        assert content.isascii()
        assert json.loads(content)


@given(tables())
def test_the_bridges_key_and_the_salt_are_in_the_routes_alone(table: RouterTable) -> None:
    written = upstream_files(table.upstreams, chains(table), PATHS, SETTINGS)
    contents = [written.clusters.content, *(one.content for one in written.endpoints.values())]
    contents += [render_listener(PATHS, SETTINGS).content, render_bootstrap(PATHS, SETTINGS)]
    for content in contents:
        assert "bridge%" not in content
        assert SETTINGS.hash_salt not in content
    assert SETTINGS.hash_salt not in repr(SETTINGS)


@given(st.text(min_size=1, max_size=40))
def test_a_models_other_name_is_matched_letter_by_letter(name: str) -> None:
    one = ModelRoute("m", (Segment("1", WHOLE),), ("1",), names=(name,))
    document = resources(route_file(RouterTable((one,)), SETTINGS).routes.content)
    exact = [value.get("exact") for value in parts(document, "string_match")]
    assert name in exact


@given(tables())
def test_no_key_is_asked_for_only_where_there_is_none(table: RouterTable) -> None:
    document = resources(route_file(table, SETTINGS).routes.content)
    filters = document[0]["virtual_hosts"][0]["typed_per_filter_config"]
    assert bool(filters) == bool(table.keys)
    known = {key.sha256 for key in table.keys if key.per_minute != 0}
    asked = {one["exact"] for one in parts(filters, "string_match")}
    assert asked == known


@given(tables())
def test_models_that_can_answer_are_listed_and_others_named_by_health(table: RouterTable) -> None:
    document = resources(route_file(table, SETTINGS).routes.content)
    routes = document[0]["virtual_hosts"][0]["routes"]
    by_path = {one["match"].get("path"): one.get("direct_response") for one in routes}
    listed = json.loads(by_path["/v1/models"]["body"]["inline_string"])["data"]
    assert [one["id"] for one in listed] == [
        one.model for one in table.models if one.segments and not one.bridge
    ]
    health = by_path["/health"]
    missing = [one.model for one in table.models if not one.segments]
    assert json.loads(health["body"]["inline_string"])["not_ready"] == missing
    assert (health["status"] == 200) == (bool(table.models) and not missing)


@given(st.text(alphabet="versionx-1", max_size=12))
def test_of_the_routers_headers_a_client_may_send_one(rest: str) -> None:
    dropped = re.fullmatch(_others("x-tslc-"), f"x-tslc-{rest}") is not None
    assert dropped == (rest != "version")


def test_endpoints_are_the_doors_or_torchserves_frontend() -> None:
    name = UpstreamName("m", "1")
    doors = Upstream(name, (Path("/b.sock"), Path("/a.sock")))
    found = resources(render_endpoints(doors, SETTINGS).content)
    assert list(parts(found, "pipe")) == [{"path": "/a.sock"}, {"path": "/b.sock"}]
    assert next(parts(found, "tslc")) == {"model": "m", "version": "1"}
    bridged = resources(render_endpoints(Upstream(name, bridge=True), SETTINGS).content)
    assert next(parts(bridged, "socket_address")) == {"address": "127.0.0.1", "port_value": 8080}
    nobody = SETTINGS.model_copy(update={"bridge_port": None})
    assert not list(
        parts(resources(render_endpoints(Upstream(name, bridge=True), nobody).content), "address")
    )


def test_an_upstreams_shadow_is_small_and_has_the_same_endpoints() -> None:
    one = Upstream(UpstreamName("m", "1"), (Path("/a.sock"),))
    first, second = resources(upstream_files((one,), (), PATHS, SETTINGS).clusters.content)
    assert first["eds_cluster_config"] == second["eds_cluster_config"]
    assert first["name"] == version_cluster(one.name)
    limits = [next(parts(c, "max_requests")) for c in (first, second)]
    assert limits == [SETTINGS.max_requests, SETTINGS.shadow_requests]


def test_the_admin_interface_is_a_socket_of_its_owner() -> None:
    admin = json.loads(render_bootstrap(PATHS, SETTINGS))["admin"]["address"]
    assert admin == {"pipe": {"path": "/node/router/admin.sock", "mode": 0o600}}


def test_tls_is_used_when_there_is_a_certificate() -> None:
    assert "transport_socket" not in render_listener(PATHS, SETTINGS).content
    files = {"certificate": Path("/tls/a.pem"), "certificate_key": Path("/tls/a.key")}
    secure = SETTINGS.model_copy(update=files)
    assert "DownstreamTlsContext" in render_listener(PATHS, secure).content
    assert secure.address == "https://127.0.0.1:8000"
    (secret,) = resources(render_certificate(secure).content)
    assert secret["tls_certificate"]["watched_directory"] == {"path": "/tls"}


@given(st.sampled_from(["127.0.0.1", "::1"]), st.integers(1, 65535))
def test_settings_are_read_as_they_were_written(host: str, port: int) -> None:
    one = RouterSettings(host=host, port=port, hash_salt="s" * 16)
    assert RouterSettings.parse(one.render(), "settings.json") == one
    assert one.address.endswith(f"]:{port}" if ":" in host else f"{host}:{port}")
