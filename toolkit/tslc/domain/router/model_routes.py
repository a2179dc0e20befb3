"""The routes of one model: to the version asked for, or to one its split draws.

A request goes to a chain of versions: it moves on to the next one only while nobody has begun to
answer it. What a worker has answered, an error too, is never asked for again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from tslc.domain.router.discovery import Json, seconds, typed
from tslc.domain.router.names import (
    METADATA,
    MODEL_KEY,
    USER_FILTER,
    USER_HEADER,
    VERSION_HEADER,
    chain,
    chain_cluster,
    shadow_cluster,
    version_cluster,
)
from tslc.domain.router.replies import says
from tslc.domain.router.settings import RouterSettings
from tslc.domain.router.table import (
    WHOLE,
    ModelRoute,
    RouterTable,
    Segment,
    StickyBy,
    UpstreamName,
)

_PREFIX = "/v1/"
# Attempts at each version of a chain, so that another of its workers may answer first.
_ATTEMPTS = 2


def body_routes(route: ModelRoute, table: RouterTable, settings: RouterSettings) -> Iterator[Json]:
    """POST /v1/… with the model, or one of its other names, in the body."""
    names = [{"string_match": {"exact": name}} for name in (route.model, *sorted(route.names))]
    value = {"or_match": {"value_matchers": names}} if len(names) > 1 else names[0]
    match = {"prefix": _PREFIX, "headers": [method("POST")], **asked_for(value)}
    yield from _variants(route, table, settings, match, {})


def path_routes(route: ModelRoute, table: RouterTable, settings: RouterSettings) -> Iterator[Json]:
    """/<model>/v1/…, whatever the body says."""
    match = {"prefix": f"/{route.model}{_PREFIX}"}
    yield from _variants(route, table, settings, match, {"prefix_rewrite": _PREFIX})


def chains(table: RouterTable) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The chains that the table's routes lead to, of two and more versions."""
    found = {
        (one.model, versions)
        for one in table.models
        if not one.bridge
        for segment in one.segments
        if len(versions := chain(segment.version, one.spare)) > 1
    }
    return tuple(sorted(found))


def clusters_named(table: RouterTable) -> frozenset[str]:
    """Every cluster a route of the table leads to."""
    found: set[str] = set()
    for one in table.models:
        shares = [segment.version for segment in one.segments]
        found |= {_target(one, version) for version in shares if not one.bridge}
        direct = [*(shares if one.bridge else ()), *(one.ready if table.pinning else ())]
        found |= {version_cluster(UpstreamName(one.model, version)) for version in direct}
        if one.shadow and not one.bridge:
            found.add(shadow_cluster(UpstreamName(one.model, one.shadow.version)))
    return frozenset(found)


def asked_for(value: Json) -> Mapping[str, object]:
    """What the body's model has to be, for a route to match."""
    return {
        "dynamic_metadata": [{"filter": METADATA, "path": [{"key": MODEL_KEY}], "value": value}]
    }


def method(*names: str) -> Json:
    return {"name": ":method", "string_match": {"safe_regex": {"regex": "|".join(names)}}}


def pinned(
    route: ModelRoute, table: RouterTable, match: Json
) -> Iterator[tuple[Json, str | None, Json]]:
    """For requests that ask for a version: the match, and the version or what is said instead."""
    if table.pinning:
        for version in route.ready:
            yield _with_version(match, {"string_match": {"exact": version}}), version, {}
    yield _with_version(match, {"present_match": True}), None, no_such_version(route, table)


def no_such_version(route: ModelRoute, table: RouterTable) -> Json:
    if not table.pinning:
        return says(403, f"A version can't be asked for here: leave {VERSION_HEADER} out.")
    ready = ", ".join(route.ready) or "none"
    return says(404, f"That version of '{route.model}' is not ready here. Ready: {ready}.")


def not_ready(route: ModelRoute) -> Json:
    return says(503, f"No version of the model '{route.model}' is ready.")


def about(route: ModelRoute, settings: RouterSettings) -> dict[str, Json]:
    """What the script that tells users apart is to know of this route."""
    context = {"model": route.model}
    if route.sticky is not None:
        context |= {route.sticky.by.value: route.sticky.name, "salt": settings.hash_salt}
    per_route = typed("extensions.filters.http.lua.v3.LuaPerRoute", filter_context=context)
    return {USER_FILTER: per_route}


def draw(route: ModelRoute, segments: Sequence[tuple[Segment, Json]]) -> dict[str, object]:
    """Draw one of the segments, by the hash of the user where the request tells who it is.

    Segments lie one after the other on the ring, so who was in one stays there while its bounds do.
    """
    clusters = [
        {**cluster, "weight": segment.weight} for segment, cluster in segments if segment.weight
    ]
    weighted: dict[str, object] = {"clusters": clusters}
    if route.sticky is None:
        return {"weighted_clusters": weighted}
    named = route.sticky.by is StickyBy.HEADER
    header = route.sticky.name if named else USER_HEADER
    return {
        "weighted_clusters": {**weighted, "use_hash_policy": True},
        "hash_policy": [{"header": {"header_name": header}}],
    }


def _variants(
    route: ModelRoute,
    table: RouterTable,
    settings: RouterSettings,
    match: Json,
    rewrite: Json,
) -> Iterator[Json]:
    context = {"typed_per_filter_config": about(route, settings)}
    for narrower, version, answer in pinned(route, table, match):
        if version is not None:
            cluster = version_cluster(UpstreamName(route.model, version))
            answer = {"route": {"cluster": cluster, **rewrite, **_manners(1)}}
        yield {"match": narrower, **context, **answer}
    if not route.segments:
        yield {"match": match, **context, **not_ready(route)}
        return
    clusters = [(one, {"name": _target(route, one.version)}) for one in route.segments]
    steps = max(len(chain(one.version, route.spare)) for one in route.segments)
    action = {**draw(route, clusters), **rewrite, **_manners(steps), **_mirror(route)}
    yield {"match": match, **context, "route": action}


def _target(route: ModelRoute, version: str) -> str:
    versions = chain(version, route.spare)
    if len(versions) == 1:
        return version_cluster(UpstreamName(route.model, version))
    return chain_cluster(route.model, versions)


def _with_version(match: Json, condition: Json) -> Json:
    stated = match.get("headers", ())
    headers: Iterable[object] = stated if isinstance(stated, Sequence) else ()
    return {**match, "headers": [*headers, {"name": VERSION_HEADER, **condition}]}


def _manners(steps: int) -> dict[str, object]:
    """An answer takes as long as it takes; a request nobody began to answer is tried elsewhere."""
    priorities = typed(
        "extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
        update_frequency=_ATTEMPTS,
    )
    hosts = typed("extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate")
    return {
        "timeout": "0s",
        "retry_policy": {
            "retry_on": "connect-failure,refused-stream,reset",
            "num_retries": _ATTEMPTS * max(steps, 2) - 1,
            "retry_priority": {
                "name": "envoy.retry_priorities.previous_priorities",
                "typed_config": priorities,
            },
            "retry_host_predicate": [
                {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": hosts}
            ],
            "host_selection_retry_max_attempts": 3,
            "retry_back_off": {"base_interval": seconds(0.01), "max_interval": seconds(0.2)},
        },
    }


def _mirror(route: ModelRoute) -> dict[str, object]:
    if route.shadow is None or not route.shadow.share:
        return {}
    fraction = {"numerator": route.shadow.share, "denominator": "TEN_THOUSAND"}
    assert route.shadow.share <= WHOLE
    policy = {
        "cluster": shadow_cluster(UpstreamName(route.model, route.shadow.version)),
        "runtime_fraction": {"default_value": fraction},
        "disable_shadow_host_suffix_append": True,
    }
    return {"request_mirror_policies": [policy]}
