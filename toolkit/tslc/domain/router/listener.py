"""Where clients ask, and what a request passes through before it is routed.

Paths are normalised before anything looks at them; headers by which a client could steer Envoy, or
pretend to be the router, are dropped first of all.
"""

from __future__ import annotations

from tslc.domain.router.access_log import access_log
from tslc.domain.router.discovery import (
    LISTENER as LISTENER_TYPE,
)
from tslc.domain.router.discovery import (
    SECRET,
    Discovery,
    Json,
    discovery,
    from_file,
    seconds,
    typed,
)
from tslc.domain.router.keys import auth_filter, rate_filter
from tslc.domain.router.lua_scripts import KEY_SCRIPT, USER_SCRIPT
from tslc.domain.router.names import (
    CERTIFICATE,
    KEY_FILTER,
    LISTENER,
    METADATA,
    MODEL_FILTER,
    MODEL_KEY,
    ROUTES,
    SIZE_FILTER,
    USER_FILTER,
    VERSION_HEADER,
)
from tslc.domain.router.replies import local_replies
from tslc.domain.router.settings import RouterPaths, RouterSettings

_CONNECTION_BUFFER = 1024 * 1024
_MAX_STREAMS = 256
_CLIENT_IDLE_SECONDS = 3600
_NOBODY = {"address_prefix": "192.0.2.0", "prefix_len": 32}
_HTTP = "extensions.filters.http"


def render_listener(paths: RouterPaths, settings: RouterSettings) -> Discovery:
    chain: dict[str, object] = {"filters": [_connections(paths, settings)]}
    if settings.certificate is not None:
        chain["transport_socket"] = _tls(paths)
    address = {"address": settings.host, "port_value": settings.port}
    resource = {
        "name": LISTENER,
        "address": {"socket_address": address},
        # Another one at this port is a mistake, not a partner.
        "enable_reuse_port": False,
        "per_connection_buffer_limit_bytes": _CONNECTION_BUFFER,
        "filter_chains": [chain],
    }
    return discovery(LISTENER_TYPE, [resource])


def render_certificate(settings: RouterSettings) -> Discovery:
    """Which files hold it; Envoy reads them again when something is renamed in their folder."""
    if settings.certificate is None or settings.certificate_key is None:
        return discovery(SECRET, [])
    tls = {
        "certificate_chain": {"filename": str(settings.certificate)},
        "private_key": {"filename": str(settings.certificate_key)},
        "watched_directory": {"path": str(settings.certificate.parent)},
    }
    return discovery(SECRET, [{"name": CERTIFICATE, "tls_certificate": tls}])


def _tls(paths: RouterPaths) -> Json:
    secret = {"name": CERTIFICATE, "sds_config": from_file(paths.certificate)}
    common = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_certificate_sds_secret_configs": [secret],
    }
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": typed(
            "extensions.transport_sockets.tls.v3.DownstreamTlsContext", common_tls_context=common
        ),
    }


def _connections(paths: RouterPaths, settings: RouterSettings) -> Json:
    config = typed(
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=LISTENER,
        server_name="tslc",
        rds={"route_config_name": ROUTES, "config_source": from_file(paths.routes)},
        http_filters=_filters(settings),
        access_log=[access_log(paths)],
        local_reply_config=local_replies(settings),
        early_header_mutation_extensions=[_dropped_headers()],
        # Nobody is internal, a client on this machine neither.
        use_remote_address=True,
        internal_address_config={"cidr_ranges": [_NOBODY]},
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action="REJECT_REQUEST",
        generate_request_id=True,
        preserve_external_request_id=True,
        always_set_request_id_in_response=True,
        stream_idle_timeout=seconds(settings.idle_seconds),
        request_headers_timeout=seconds(settings.header_seconds),
        request_timeout=seconds(settings.body_seconds),
        common_http_protocol_options={"idle_timeout": seconds(_CLIENT_IDLE_SECONDS)},
        http2_protocol_options={"max_concurrent_streams": _MAX_STREAMS},
    )
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": config}


def _filters(settings: RouterSettings) -> list[Json]:
    """The key is asked for before a body is taken in, the size before it is read."""
    size = typed(f"{_HTTP}.buffer.v3.Buffer", max_request_bytes=settings.max_body_bytes)
    return [
        {"name": KEY_FILTER, "typed_config": _lua(KEY_SCRIPT, "key")},
        auth_filter(),
        rate_filter(),
        {"name": SIZE_FILTER, "typed_config": size},
        {"name": MODEL_FILTER, "typed_config": _model_of_body()},
        {"name": USER_FILTER, "typed_config": _lua(USER_SCRIPT, "user")},
        {
            "name": "envoy.filters.http.router",
            "typed_config": typed(f"{_HTTP}.router.v3.Router", suppress_envoy_headers=True),
        },
    ]


def _lua(script: str, name: str) -> Json:
    return typed(
        f"{_HTTP}.lua.v3.Lua",
        default_source_code={"inline_string": script},
        stat_prefix=name,
        clear_route_cache=False,
    )


def _model_of_body() -> Json:
    """The body's `model`, whatever the content type says: the worker decides on that."""
    found = {"metadata_namespace": METADATA, "key": MODEL_KEY, "type": "STRING"}
    return typed(
        f"{_HTTP}.json_to_metadata.v3.JsonToMetadata",
        request_rules={
            "rules": [{"selectors": [{"key": "model"}], "on_present": found}],
            "allow_content_types_regex": {"regex": ".*"},
            "allow_empty_content_type": True,
        },
    )


def _dropped_headers() -> Json:
    patterns = [{"prefix": "x-envoy-"}, {"safe_regex": {"regex": _others("x-tslc-")}}]
    mutations = [{"remove_on_match": {"key_matcher": pattern}} for pattern in patterns]
    return {
        "name": "envoy.http.early_header_mutation.header_mutation",
        "typed_config": typed(
            "extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
            mutations=mutations,
        ),
    }


def _others(prefix: str) -> str:
    """Headers that begin so, but for the one a client may send. RE2 can't look ahead."""
    allowed = VERSION_HEADER.removeprefix(prefix)
    differs = [f"{allowed[:at]}(?:[^{letter}].*)?" for at, letter in enumerate(allowed)]
    return f"{prefix}(?:{'|'.join([*differs, f'{allowed}.+'])})"
