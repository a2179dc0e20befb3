"""What the router answers by itself, in the one shape errors have everywhere: OpenAI's.

A route's own answer is a sentence; Envoy puts it, and what it says by itself, into that shape.
"""

from __future__ import annotations

from collections.abc import Mapping

from tslc.domain.router.discovery import Json
from tslc.domain.router.names import METADATA, OWN_HEADER, STAGE, STAGE_KEY
from tslc.domain.router.settings import MIB, RouterSettings

HEALTH = "/health"

# The names vLLM has for a status, where it has one; a client may tell errors apart by them.
_TYPES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    408: "RequestTimeoutError",
    413: "RequestTooLargeError",
    414: "RequestTooLargeError",
    429: "RateLimitError",
    431: "RequestTooLargeError",
    500: "InternalServerError",
    502: "BadGatewayError",
    503: "ServiceUnavailableError",
    504: "GatewayTimeoutError",
}
# What Envoy says by itself in the place of a worker: nobody was there to answer, or it broke off.
_NO_ANSWER = ("LH", "UH", "UT", "LR", "UR", "UF", "UC", "NC", "NR", "URX", "UPE", "OM", "DT")
_OVERLOADED = ("UO", "RLSE")


def local_replies(settings: RouterSettings) -> Json:
    """The first mapper that fits shapes the answer."""
    size = f"{settings.max_body_bytes / MIB:g} MiB"
    unreachable = "No version of the model could answer. Try again."
    mappers = [
        _as_it_is(HEALTH),
        _error(503, unreachable, flags=_NO_ANSWER),
        _error(503, "Too many requests at once. Try again later.", flags=_OVERLOADED),
        _error(504, "The model did not answer in time."),
        _error(502, "The model's answer was malformed."),
        _no_key(),
        _no_upgrade(),
        _error(429, "Too many requests with this API key. Try again later."),
        _error(413, f"The request's body is larger than {size}."),
        _error(408, "The request did not arrive in time."),
        _escaped_slash(),
        _error(400, "The request is malformed.", flags=("DPE", "UMSDR")),
        *(_error(status) for status in sorted(_TYPES)),
        _mapper(_status(400, "GE"), "Error", None),
    ]
    return {"mappers": mappers}


def says(status: int, message: str) -> Json:
    """A direct response; an error's message is shaped by `local_replies`."""
    return {"direct_response": {"status": status, "body": {"inline_string": message}}}


def says_of_request(status: int, template: str) -> Json:
    """The same with Envoy's formatters in the message, which has none from outside."""
    text = {"text_format_source": {"inline_string": template}}
    return {"direct_response": {"status": status, "body_format": text}}


def says_json(status: int, content: str) -> Json:
    header = {"key": "content-type", "value": "application/json"}
    return {
        **says(status, content),
        "response_headers_to_add": [
            {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        ],
    }


def _error(status: int, message: str | None = None, flags: tuple[str, ...] = ()) -> Json:
    """`message` None: what was said."""
    which = _status(status, "EQ")
    if flags:
        which = {"and_filter": {"filters": [which, {"response_flag_filter": {"flags": flags}}]}}
    return _mapper(which, _TYPES[status], message)


def _mapper(which: Json, kind: str, message: str | None) -> Json:
    error = {
        "message": "%LOCAL_REPLY_BODY%",
        "type": kind,
        "param": None,
        "code": "%RESPONSE_CODE%",
    }
    body: Mapping[str, object] = {"body": {"inline_string": message}} if message else {}
    return {
        "filter": which,
        "body_format_override": {"json_format": {"error": error}},
        "headers_to_add": [{"header": {"key": OWN_HEADER, "value": "1"}}],
        **body,
    }


def _escaped_slash() -> Json:
    """Refused before there is a route; Envoy has no words for it."""
    path = {"name": ":path", "string_match": {"safe_regex": {"regex": "(?i).*%(2f|5c).*"}}}
    which = {"header_filter": {"header": path}}
    both = {"and_filter": {"filters": [_status(400, "EQ"), which]}}
    return _mapper(both, _TYPES[400], "A path may not hold an escaped slash.")


def _no_key() -> Json:
    """Access control says 403, and has just seen the script before it."""
    message = "A valid API key is needed: 'Authorization: Bearer KEY'."
    mapper = _mapper(_refused_at(STAGE_KEY, otherwise=False), _TYPES[401], message)
    header = {"key": "www-authenticate", "value": "Bearer"}
    return {**mapper, "status_code": 401, "headers_to_add": [{"header": header}]}


def _no_upgrade() -> Json:
    """Envoy says 403 before any filter has seen the request."""
    which = _refused_at("none", otherwise=True)
    return _mapper(which, _TYPES[403], "Tunnels and other protocols are not served.")


def _refused_at(stage: str, *, otherwise: bool) -> Json:
    """A 403 at that stage; `otherwise`: or before there was one."""
    value = {"string_match": {"exact": stage}}
    found = {"filter": METADATA, "path": [{"key": STAGE}], "value": value}
    seen = {"metadata_filter": {"matcher": found, "match_if_key_not_found": otherwise}}
    return {"and_filter": {"filters": [_status(403, "EQ"), seen]}}


def _as_it_is(path: str) -> Json:
    exact = {"name": ":path", "string_match": {"exact": path}}
    form = {
        "text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%"},
        "content_type": "application/json",
    }
    return {"filter": {"header_filter": {"header": exact}}, "body_format_override": form}


def _status(status: int, op: str) -> Json:
    value = {"default_value": status, "runtime_key": "tslc.no_such_key"}
    return {"status_code_filter": {"comparison": {"op": op, "value": value}}}
