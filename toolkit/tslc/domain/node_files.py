"""The files TorchServe is run with: config.properties, log4j2.xml, metrics.yaml, its environment.

Decides how a local TorchServe is run: everything on loopback, tokens on, no archive from elsewhere,
no setting taken from the environment, logs that are bounded and write nothing for a request that
went well. What cannot be closed by configuration: a holder of the management key may register any
*folder* of the machine as a model, whatever `allowed_urls` says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import quoteattr

import yaml

from tslc.domain.node import NODE_MARK, NodePaths, NodeSettings

MAX_REQUEST_BYTES = 32 * 1024 * 1024
MAX_RESPONSE_BYTES = 64 * 1024 * 1024
JOB_QUEUE = 1000

# TorchServe matches each variable's whole name. HF_TOKEN stays: an archive without pinned weights
# may have to fetch a gated model.
CREDENTIALS = (
    r"(?i)(?!HF_TOKEN$)(AWS_.*|AZURE_.*|GOOGLE_APPLICATION_.*|.*SECRET.*|.*PASSWORD.*|.*PASSWD.*"
    r"|.*CREDENTIAL.*|.*API_?KEY.*|.*ACCESS_?KEY.*|.*PRIVATE_?KEY.*|.*_TOKEN)"
)

# Variables that would change what TorchServe or a worker runs behind the node's back.
_FOREIGN = re.compile(r"TS_.*|LOG_LOCATION|METRICS_LOCATION|PYTHONPATH|PYTHONHOME|TEMP|TMP|TMPDIR")


def render_config(settings: NodeSettings, paths: NodePaths) -> str:
    """config.properties."""
    ports = settings.ports
    lines = {
        "inference_address": f"http://127.0.0.1:{ports.inference}",
        "management_address": f"http://127.0.0.1:{ports.management}",
        "metrics_address": f"http://127.0.0.1:{ports.metrics}",
        "grpc_inference_address": "127.0.0.1",
        "grpc_inference_port": ports.grpc_inference,
        "grpc_management_address": "127.0.0.1",
        "grpc_management_port": ports.grpc_management,
        "enable_envvars_config": False,
        "disable_token_authorization": not settings.token_auth,
        "token_expiration_min": f"{settings.token_minutes:g}",
        # Without it TorchServe refuses to register and unregister models at all.
        "enable_model_api": True,
        "model_store": paths.model_store,
        "load_models": "",
        "allowed_urls": _allowed_urls(paths.model_store),
        "install_py_dep_per_model": settings.install_requirements,
        "default_workers_per_model": 1,
        "job_queue_size": JOB_QUEUE,
        "max_request_size": MAX_REQUEST_BYTES,
        "max_response_size": MAX_RESPONSE_BYTES,
        # A worker gets the bytes of a body, not what Java makes of them.
        "decode_input_request": False,
        "blacklist_env_vars": CREDENTIALS,
        "disable_system_metrics": True,
        "metrics_mode": "prometheus",
        "metrics_config": paths.metrics_config,
        "vmargs": " ".join(settings.vm_arguments),
    }
    return "".join(f"{key}={_property(value)}\n" for key, value in lines.items())


def _property(value: object) -> str:
    """A value as java.util.Properties reads it back: ISO 8859-1, backslash escapes."""
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value).replace("\\", "\\\\")
    units = text.encode("utf-16-be")
    codes = (int.from_bytes(units[i : i + 2], "big") for i in range(0, len(units), 2))
    return "".join(chr(code) if 32 <= code < 127 else f"\\u{code:04x}" for code in codes)


def _allowed_urls(model_store: Path) -> str:
    """A regular expression of Java; TorchServe splits the setting at commas, so none may be in it.

    A plain file name in the model store needs no URL and is always allowed.
    """
    plain = re.compile(r"[A-Za-z0-9/_-]")
    path = "".join(c if plain.match(c) else f"\\x{{{ord(c):x}}}" for c in model_store.as_posix())
    return f"file://{path}/[^/]*"


def render_log_config(paths: NodePaths) -> str:
    """log4j2.xml: two files of at most 4 x 10 MB each, nothing on the console.

    model_log.log has what workers print, each line with its thread's name,
    `W-<n>-<model>_<version>-stdout` or -stderr. The line that TorchServe's part of a worker prints
    for every request is dropped. Of what tells of a worker's life only that all it said was read
    is kept: a load that failed is explained after that.
    """
    noise = r".*(self\._entry_point=|Backend received inference at|Getting requests from model).*"
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="error">
  <Appenders>
{_rolling_file("server", paths.server_log)}
{_rolling_file("workers", paths.worker_log)}
  </Appenders>
  <Loggers>
    <Logger name="MODEL_LOG" level="all" additivity="false">
      <RegexFilter regex={quoteattr(noise)} onMatch="DENY" onMismatch="ACCEPT"/>
      <AppenderRef ref="workers"/>
    </Logger>
    <Logger name="org.pytorch.serve.wlm.WorkerLifeCycle" level="info" additivity="false">
      <AppenderRef ref="server">
        <Filters>
          <ThresholdFilter level="warn" onMatch="ACCEPT" onMismatch="NEUTRAL"/>
          <RegexFilter regex="Stopped Scanner.*" onMatch="ACCEPT" onMismatch="DENY"/>
        </Filters>
      </AppenderRef>
    </Logger>
    <Logger name="ACCESS_LOG" level="off"/>
    <Logger name="MODEL_METRICS" level="off"/>
    <Logger name="TS_METRICS" level="off"/>
    <Logger name="io.netty" level="error"/>
    <Logger name="org.apache" level="off"/>
    <Root level="warn">
      <AppenderRef ref="server"/>
    </Root>
  </Loggers>
</Configuration>
"""


def _rolling_file(name: str, path: Path) -> str:
    older = path.with_suffix(".%i.log")
    return f"""\
    <RollingFile name="{name}" fileName={quoteattr(str(path))} filePattern={quoteattr(str(older))}>
      <PatternLayout pattern="%d{{ISO8601}} [%-5p] %t %c - %m%n"/>
      <SizeBasedTriggeringPolicy size="10 MB"/>
      <DefaultRolloverStrategy max="3"/>
    </RollingFile>"""


_MODEL = ["ModelName", "Level"]
_VERSION = ["model_name", "model_version", "hostname"]
_HOST = ["Level", "Hostname"]
# name, unit, dimensions; the server's own names are TorchServe's, or it would not find them.
_SERVER_COUNTERS = (
    *((f"Requests{status}XX", "Count", _HOST) for status in (2, 4, 5)),
    ("ts_inference_requests_total", "Count", _VERSION),
    ("ts_inference_latency_microseconds", "Microseconds", _VERSION),
    ("ts_queue_latency_microseconds", "Microseconds", _VERSION),
)
_SERVER_GAUGES = (
    ("QueueTime", "Milliseconds", _HOST),
    ("WorkerThreadTime", "Milliseconds", _HOST),
    ("WorkerLoadTime", "Milliseconds", ["WorkerName", *_HOST]),
)
_MODEL_COUNTERS = (("TokensIn", "count", _MODEL), ("TokensOut", "count", _MODEL))
_MODEL_GAUGES = (
    ("HandlerTime", "ms", _MODEL),
    ("TimeToFirstToken", "ms", _MODEL),
    ("PredictionTime", "ms", _MODEL),
)


def render_metrics_config() -> str:
    """metrics.yaml: which metrics TorchServe keeps; a name that is not here is thrown away."""

    def listed(metrics: tuple[tuple[str, str, list[str]], ...]) -> list[dict[str, object]]:
        return [{"name": name, "unit": unit, "dimensions": list(d)} for name, unit, d in metrics]

    dimensions = sorted({d for *_, names in (*_SERVER_GAUGES, *_MODEL_GAUGES) for d in names})
    document = {
        "dimensions": dimensions,
        "ts_metrics": {"counter": listed(_SERVER_COUNTERS), "gauge": listed(_SERVER_GAUGES)},
        "model_metrics": {"counter": listed(_MODEL_COUNTERS), "gauge": listed(_MODEL_GAUGES)},
    }
    return yaml.safe_dump(document, sort_keys=False)


def server_environment(
    env: Mapping[str, str], paths: NodePaths, java_home: Path | None
) -> dict[str, str]:
    """The environment of TorchServe, which it hands on to its workers."""
    kept = {name: value for name, value in env.items() if not _FOREIGN.fullmatch(name)}
    kept.pop("JAVA_HOME", None)
    tmp = str(paths.tmp)
    own = {
        "TEMP": tmp,
        "TMPDIR": tmp,
        "LOG_LOCATION": str(paths.logs),
        "METRICS_LOCATION": str(paths.logs),
        NODE_MARK: paths.mark,
        "TSLC_RUN_DIR": str(paths.run),
        "TSLC_WEIGHTS_DIR": str(paths.weights),
        "PYTHONUNBUFFERED": "1",
        # Keeps a process's environment readable in /proc when it renames itself, as vLLM's do:
        # it is by the mark there that a node finds what it started.
        "SPT_NOENV": "1",
    }
    if java_home is not None:
        own["JAVA_HOME"] = str(java_home)
    return kept | own
