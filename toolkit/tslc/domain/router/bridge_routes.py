"""The routes of archives that are not ours: TorchServe's own predictions, a version at a time.

TorchServe has no split: the version drawn here is written into the path. A request is not moved to
another version, since nobody knows whether they mean the same.
"""

from __future__ import annotations

from collections.abc import Iterator

from tslc.domain.router.discovery import Json
from tslc.domain.router.model_routes import about, draw, no_such_version, not_ready, pinned
from tslc.domain.router.names import BRIDGE_HEADER, version_cluster
from tslc.domain.router.settings import RouterSettings
from tslc.domain.router.table import ModelRoute, RouterTable, UpstreamName


def bridge_routes(
    route: ModelRoute, table: RouterTable, settings: RouterSettings
) -> Iterator[Json]:
    """/predictions/<model>, and /predictions/<model>/<version> where a version may be asked for."""
    context = {
        "typed_per_filter_config": about(route, settings),
        "request_headers_to_add": _key(table.bridge_key),
    }
    path = f"/predictions/{route.model}"
    if table.pinning:
        for version in route.ready:
            yield {
                "match": {"path": f"{path}/{version}"},
                **context,
                "route": _one(route, version),
            }
    yield {"match": {"prefix": f"{path}/"}, **context, **no_such_version(route, table)}
    for narrower, asked, answer in pinned(route, table, {"path": path}):
        if asked is not None:
            answer = {"route": {**_one(route, asked), "path_rewrite": f"{path}/{asked}"}}
        yield {"match": narrower, **context, **answer}
    if not route.segments:
        yield {"match": {"path": path}, **context, **not_ready(route)}
        return
    clusters = [(one, _cluster(route, one.version)) for one in route.segments]
    action = {
        **draw(route, clusters),
        "path_rewrite": f"{path}/%REQ({BRIDGE_HEADER})%",
        "timeout": "0s",
    }
    yield {"match": {"path": path}, **context, "route": action}


def _one(route: ModelRoute, version: str) -> dict[str, object]:
    name = UpstreamName(route.model, version)
    return {"cluster": version_cluster(name), "timeout": "0s"}


def _cluster(route: ModelRoute, version: str) -> Json:
    return {
        "name": version_cluster(UpstreamName(route.model, version)),
        "request_headers_to_add": [_overwrite(BRIDGE_HEADER, version)],
    }


def _key(key: str | None) -> list[Json]:
    return [_overwrite("authorization", f"Bearer {key}")] if key else []


def _overwrite(header: str, value: str) -> Json:
    return {
        # A percent sign would begin one of Envoy's formatters.
        "header": {"key": header, "value": value.replace("%", "%%")},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }
