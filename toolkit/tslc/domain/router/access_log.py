"""One line of JSON for each request: who answered whom, how fast, how much. Never what.

Neither a prompt nor a key nor a user's own name comes in: the user is a salted hash, the path is
without its query.
"""

from __future__ import annotations

from tslc.domain.router.discovery import Json, typed
from tslc.domain.router.keys import AUTH_KEY, AUTH_METADATA
from tslc.domain.router.names import METADATA
from tslc.domain.router.settings import RouterPaths

_LONGEST = 200

# `version` is the one that answered; `model` without one: where the request was for. Times are
# milliseconds; `first_byte_ms` until the worker's first byte came.
FIELDS = {
    "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
    "model": f"%DYNAMIC_METADATA({METADATA}:model)%",
    "version": f"%UPSTREAM_METADATA({METADATA}:version)%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "bytes_in": "%BYTES_RECEIVED%",
    "bytes_out": "%BYTES_SENT%",
    "duration_ms": "%DURATION%",
    "first_byte_ms": "%RESPONSE_DURATION%",
    "request_id": f"%REQ(X-REQUEST-ID):{_LONGEST}%",
    "key": f"%DYNAMIC_METADATA({AUTH_METADATA}:{AUTH_KEY})%",
    "user": f"%DYNAMIC_METADATA({METADATA}:user)%",
    "method": "%REQ(:METHOD)%",
    "path": f"%PATH(NQ:ORIG_OR_PATH):{_LONGEST}%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
}


def access_log(paths: RouterPaths) -> Json:
    return {
        "name": "envoy.access_loggers.file",
        "typed_config": typed(
            "extensions.access_loggers.file.v3.FileAccessLog",
            path=str(paths.access_log),
            log_format={"json_format": FIELDS},
        ),
    }
