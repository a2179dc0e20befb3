"""What Envoy is started with: everything else it reads from files, again when they change.

Its admin interface listens on a Unix socket of the router's folder, never on TCP.
"""

from __future__ import annotations

import json

from tslc.domain.router.discovery import Json, from_file, typed
from tslc.domain.router.settings import RouterPaths, RouterSettings

_OWNER_ONLY = 0o600


def render_bootstrap(paths: RouterPaths, settings: RouterSettings) -> str:
    return json.dumps(_bootstrap(paths, settings), indent=1) + "\n"


def _bootstrap(paths: RouterPaths, settings: RouterSettings) -> Json:
    admin = {"path": str(paths.admin_socket), "mode": _OWNER_ONLY}
    limit = typed(
        "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        max_active_downstream_connections=str(settings.max_connections),
    )
    monitor = {
        "name": "envoy.resource_monitors.global_downstream_max_connections",
        "typed_config": limit,
    }
    return {
        "node": {"id": settings.node, "cluster": "tslc"},
        "admin": {"address": {"pipe": admin}},
        "dynamic_resources": {
            "lds_config": from_file(paths.listener),
            "cds_config": from_file(paths.clusters),
        },
        "overload_manager": {"resource_monitors": [monitor]},
        # A node's few files are not worth a global limit on what they may say.
        "layered_runtime": {"layers": [{"name": "static", "static_layer": {}}]},
    }
