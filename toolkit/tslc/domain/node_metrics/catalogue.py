"""Every metric the agent itself gives: docs/metrics.md shows this table.

What the workers give passes through as they name it, with model, version and worker added.
"""

from __future__ import annotations

from tslc.domain.node_metrics.family import Family

VERSION = ("model", "version")

# --- the router ----------------------------------------------------------------------------------

ROUTER_UP = Family("tslc_router_up", "gauge", "Whether the node's router answers.")
ROUTER_REQUESTS = Family(
    "tslc_router_requests",
    "counter",
    "Requests by the version they were drawn for, and the class of the answer's status.",
    (*VERSION, "code_class"),
)
ROUTER_SECONDS = Family(
    "tslc_router_request_seconds",
    "histogram",
    "From a request's last byte to its answer's last byte, by the version it was drawn for.",
    VERSION,
)
ROUTER_ACTIVE = Family(
    "tslc_router_active_requests", "gauge", "Requests that are on a version now.", VERSION
)
ROUTER_ATTEMPTS = Family(
    "tslc_router_attempts",
    "counter",
    "Requests sent to a version's workers, those that were drawn for another one and the repeated "
    "ones too; copies for a shadow are not among them.",
    VERSION,
)
ROUTER_RETRIES = Family(
    "tslc_router_retries",
    "counter",
    "Requests sent once more, before anybody had begun to answer, by the version drawn.",
    VERSION,
)
ROUTER_CONNECT_FAILURES = Family(
    "tslc_router_connect_failures",
    "counter",
    "Connections to a version's workers that failed.",
    VERSION,
)
ROUTER_HEALTHY = Family(
    "tslc_router_healthy_workers",
    "gauge",
    "Workers of a version that the router sends requests to.",
    VERSION,
)
ROUTER_SHADOWED = Family(
    "tslc_router_shadow_requests",
    "counter",
    "Copies of requests whose answers nobody sees, by the class of the answer's status.",
    (*VERSION, "code_class"),
)
ROUTER_REFUSED = Family(
    "tslc_router_refused",
    "counter",
    "Requests the router answered with an error by itself, by status: no valid key, no such model, "
    "too large, too many, no version that could answer.",
    ("code",),
)

# --- the agent -----------------------------------------------------------------------------------

AGENT = Family("tslc_agent", "info", "Which node this is.", ("tslc", "environment", "node"))
AGENT_JOBS = Family(
    "tslc_agent_jobs",
    "counter",
    "What the agent did to versions (load, prove, heal, unload), and whether it went well.",
    ("job", "outcome"),
)
NODE_GENERATION = Family(
    "tslc_node_generation", "gauge", "The generation of the environment's state it acts on."
)
NODE_AS_DESIRED = Family(
    "tslc_node_as_desired",
    "gauge",
    "Whether the split in force is the one of that generation.",
    ("model",),
)
NODE_PROBLEMS = Family("tslc_node_problems", "gauge", "Things wrong that `tslc status` tells of.")
STORE_REACHABLE = Family(
    "tslc_store_reachable", "gauge", "Whether the node can read the state in the store."
)
SHARE = Family(
    "tslc_version_share_ratio", "gauge", "The share of the traffic a version gets here.", VERSION
)
DESIRED_SHARE = Family(
    "tslc_version_desired_share_ratio",
    "gauge",
    "The share of the traffic a version is to get.",
    VERSION,
)
READY_WORKERS = Family(
    "tslc_version_ready_workers", "gauge", "Workers that are ready and proven.", VERSION
)
WORKERS = Family("tslc_version_workers", "gauge", "Workers a version is to have here.", VERSION)
PHASE = Family(
    "tslc_version_phase",
    "gauge",
    "1 for the phase a version is in: waiting, loading, ready, recovering, failed or leaving.",
    (*VERSION, "phase"),
)
MEMORY = Family("tslc_version_memory_bytes", "gauge", "Memory a version's processes hold.", VERSION)

# --- the scrape ----------------------------------------------------------------------------------

SCRAPE_ERRORS = Family(
    "tslc_scrape_errors",
    "counter",
    "Times a worker or the router did not tell its metrics in time, or told none to be understood.",
    ("source", *VERSION),
)

ALL = (
    *(ROUTER_UP, ROUTER_REQUESTS, ROUTER_SECONDS, ROUTER_ACTIVE, ROUTER_ATTEMPTS, ROUTER_RETRIES),
    *(ROUTER_CONNECT_FAILURES, ROUTER_HEALTHY, ROUTER_SHADOWED, ROUTER_REFUSED),
    *(AGENT, AGENT_JOBS, NODE_GENERATION, NODE_AS_DESIRED, NODE_PROBLEMS, STORE_REACHABLE),
    *(SHARE, DESIRED_SHARE, READY_WORKERS, WORKERS, PHASE, MEMORY, SCRAPE_ERRORS),
)


def table() -> str:
    """The catalogue in Markdown."""
    rows = ["| metric | kind | labels | what it tells |", "|---|---|---|---|"]
    for one in ALL:
        labels = ", ".join(one.labels)
        rows.append(f"| `{one.sample_name}` | {one.kind} | {labels} | {one.help} |")
    return "\n".join(rows) + "\n"
