"""The worker's own Prometheus metrics, on the registry vLLM's are on."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

REQUESTS = Counter("tslc_requests", "Requests answered.", ["endpoint", "door", "status"])
SECONDS = Histogram(
    "tslc_request_seconds", "From request to last byte.", ["endpoint", "door"], buckets=_SECONDS
)
FIRST_BYTE = Histogram(
    "tslc_first_byte_seconds",
    "From request to the first byte of the body; of a stream, to its first token.",
    ["endpoint", "door"],
    buckets=_SECONDS,
)
IN_FLIGHT = Gauge("tslc_requests_in_flight", "Requests being answered.", ["door"])
HANG_UPS = Counter("tslc_hang_ups", "Clients that left before their answer's end.", ["endpoint"])
HOOK_ERRORS = Counter("tslc_hook_errors", "Exceptions raised by hooks.", ["hook"])
GUARD_VERDICTS = Counter(
    "tslc_guard_verdicts",
    "What the guard said: stage is input, output or retrieved; decision is pass, block, monitor "
    "(unsafe, let through) or no_verdict.",
    ["stage", "decision", "category"],
)
GUARD_SECONDS = Histogram(
    "tslc_guard_seconds", "From question to verdict of the guard.", ["stage"], buckets=_SECONDS
)
RETRIEVAL_SECONDS = Histogram(
    "tslc_retrieval_seconds", "From question to passages.", [], buckets=_SECONDS
)
