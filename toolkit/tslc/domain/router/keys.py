"""API keys and how often each may ask, as Envoy's filters take them from the routes.

Only hashes of keys are known here. They come with the routes, so that a key that was revoked is
refused as soon as these are taken. (Envoy's own filter for API keys is marked as unfinished and
outside of its threat model; access control by header is neither.)
"""

from __future__ import annotations

from collections.abc import Sequence

from tslc.domain.router.discovery import Json, typed
from tslc.domain.router.names import AUTH_FILTER, KEY_HEADER, RATE_FILTER
from tslc.domain.router.table import ApiKey

# Where the access control leaves the name of the key it let in.
AUTH_METADATA = "envoy.filters.http.rbac"
AUTH_KEY = "enforced_effective_policy_id"

_HTTP = "extensions.filters.http"
_RATE = f"{_HTTP}.local_ratelimit.v3.LocalRateLimit"
_DESCRIPTOR = "key"
# A bucket nobody empties: only those of keys count.
_NO_LIMIT = {"max_tokens": 4_000_000_000, "tokens_per_fill": 4_000_000_000, "fill_interval": "1s"}
_ALL = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
_MINUTE = 60


def auth_filter() -> Json:
    """Off where the routes say nothing of keys."""
    config = typed(f"{_HTTP}.rbac.v3.RBAC")
    return {"name": AUTH_FILTER, "disabled": True, "typed_config": config}


def rate_filter() -> Json:
    config = typed(_RATE, stat_prefix="rate")
    return {"name": RATE_FILTER, "disabled": True, "typed_config": config}


def key_filters(keys: Sequence[ApiKey]) -> dict[str, Json]:
    """For a virtual host: its routes are open to these keys. None: they are open to all.

    A key that may ask no times a minute is none, and that all are such opens nothing.
    """
    if not keys:
        return {}
    good = [key for key in keys if key.per_minute is None or key.per_minute > 0]
    filters = {AUTH_FILTER: _auth(good)}
    limited = [key for key in good if key.per_minute is not None]
    if limited:
        filters[RATE_FILTER] = _rates(limited)
    return filters


def open_to_all() -> dict[str, Json]:
    """For a route that asks for no key."""
    off = typed("config.route.v3.FilterConfig", disabled=True)
    return {AUTH_FILTER: off, RATE_FILTER: off}


def _auth(keys: Sequence[ApiKey]) -> Json:
    policies = {key.name: _policy(key) for key in keys}
    rules = {"action": "ALLOW", "policies": policies}
    return typed(f"{_HTTP}.rbac.v3.RBACPerRoute", rbac={"rules": rules})


def _policy(key: ApiKey) -> Json:
    header = {"name": KEY_HEADER, "string_match": {"exact": key.sha256.lower()}}
    return {"permissions": [{"any": True}], "principals": [{"header": header}]}


def _rates(keys: Sequence[ApiKey]) -> Json:
    by_key = {
        "descriptor_key": _DESCRIPTOR,
        "metadata_key": {"key": AUTH_METADATA, "path": [{"key": AUTH_KEY}]},
        "source": "DYNAMIC",
    }
    return typed(
        _RATE,
        stat_prefix="rate",
        token_bucket=_NO_LIMIT,
        always_consume_default_token_bucket=False,
        filter_enabled=_ALL,
        filter_enforced=_ALL,
        enable_x_ratelimit_headers="DRAFT_VERSION_03",
        rate_limits=[{"actions": [{"metadata": by_key}]}],
        descriptors=[
            {
                "entries": [{"key": _DESCRIPTOR, "value": key.name}],
                "token_bucket": {
                    "max_tokens": key.per_minute,
                    "tokens_per_fill": key.per_minute,
                    "fill_interval": f"{_MINUTE}s",
                },
            }
            for key in keys
        ],
    )
