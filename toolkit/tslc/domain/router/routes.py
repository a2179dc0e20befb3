"""Where a request goes, by its body's model, its path and the headers a split looks at.

Whatever is not named here is not served: no path of a worker but those below /v1/, nothing of
TorchServe but predictions of archives that are not ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from tslc.domain.router.bridge_routes import bridge_routes
from tslc.domain.router.discovery import ROUTES as ROUTES_TYPE
from tslc.domain.router.discovery import Discovery, Json, discovery
from tslc.domain.router.keys import key_filters, open_to_all
from tslc.domain.router.model_routes import asked_for, body_routes, method, path_routes
from tslc.domain.router.names import (
    AUTH_FILTER,
    KEY_HEADER,
    METADATA,
    MODEL_HEADER,
    MODEL_KEY,
    ROUTES,
    USER_HEADER,
    VERSION_HEADER,
)
from tslc.domain.router.replies import HEALTH, says, says_json, says_of_request
from tslc.domain.router.settings import MIB, RouterSettings
from tslc.domain.router.table import RouterTable

_OF_CLIENT = "x-envoy-external-address"
_LONGEST_NAME = 128


def render_routes(table: RouterTable, settings: RouterSettings) -> Discovery:
    answered = {MODEL_HEADER: "model", VERSION_HEADER: "version"}
    host = {
        "name": ROUTES,
        "domains": ["*"],
        "routes": list(_routes(table, settings)),
        "typed_per_filter_config": key_filters(table.keys),
        # A body is kept until a worker began to answer, so that it can be sent to another one.
        "request_body_buffer_limit": settings.max_body_bytes,
        "request_headers_to_remove": [VERSION_HEADER, KEY_HEADER, USER_HEADER, _OF_CLIENT],
        "response_headers_to_add": [
            {
                "header": {"key": header, "value": f"%UPSTREAM_METADATA({METADATA}:{key})%"},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
            for header, key in answered.items()
        ],
    }
    resource = {
        "name": ROUTES,
        "virtual_hosts": [host],
        "max_direct_response_body_size_bytes": MIB,
    }
    return discovery(ROUTES_TYPE, [resource])


def ask_for_keys(content: str) -> bool:
    """Whether a file of routes lets only keys in; not one that can't be read."""
    try:
        (resource,) = json.loads(content)["resources"]
        return all(
            AUTH_FILTER in host["typed_per_filter_config"] for host in resource["virtual_hosts"]
        )
    except (ValueError, LookupError, TypeError):
        return False


def _routes(table: RouterTable, settings: RouterSettings) -> Iterator[Json]:
    ours = [one for one in table.models if not one.bridge]
    yield _no_tunnel()
    yield _health(table)
    yield _models(table)
    for one in ours:
        yield from body_routes(one, table, settings)
    for one in ours:
        yield from path_routes(one, table, settings)
    for one in table.models:
        if one.bridge:
            yield from bridge_routes(one, table, settings)
    yield from _nothing()


def _no_tunnel() -> Json:
    """Envoy refuses CONNECT only where a route matches it; elsewhere it would wait for a body."""
    return {"match": {"connect_matcher": {}}, **says(405, "This is no tunnel.")}


def _health(table: RouterTable) -> Json:
    """For a load balancer: a router that has no model to answer for can't answer either."""
    missing = [one.model for one in table.models if not one.segments]
    ok = bool(table.models) and not missing
    content = json.dumps({"ok": ok, "models": len(table.models), "not_ready": missing})
    return {
        "match": {"path": HEALTH, "headers": [method("GET", "HEAD")]},
        "typed_per_filter_config": open_to_all(),
        **says_json(200 if ok else 503, content),
    }


def _models(table: RouterTable) -> Json:
    found = [one for one in table.models if one.segments and not one.bridge]
    listed = [
        {"id": one.model, "object": "model", "created": 0, "owned_by": "tslc"} for one in found
    ]
    match = {"path": "/v1/models", "headers": [method("GET", "HEAD")]}
    return {"match": match, **says_json(200, json.dumps({"object": "list", "data": listed}))}


def _nothing() -> Iterator[Json]:
    named = {"prefix": "/v1/", "headers": [method("POST")]}
    asked = f"%DYNAMIC_METADATA({METADATA}:{MODEL_KEY}):{_LONGEST_NAME}%"
    yield {
        "match": {**named, **asked_for({"present_match": True})},
        **says_of_request(404, f"The model '{asked}' does not exist."),
    }
    yield {"match": named, **says(400, "The request's body is not JSON that names a model.")}
    nowhere = f"There is nothing at '%PATH(NQ:ORIG_OR_PATH):{_LONGEST_NAME}%'."
    yield {"match": {"prefix": "/"}, **says_of_request(404, nowhere)}
