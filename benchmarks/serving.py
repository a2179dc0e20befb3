"""What the handler costs: raw vLLM server, direct door, bridge; the same model and settings.

    make bench NAME=serving        (ROUNDS=6 by default)

All three are up at once and idle but the one being asked (benchmarks/compare.py tells how). The
last line is one JSON object: the worst ratio and the worst extra time over the numbers of clients.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import yaml

from benchmarks.compare import ROOT, Target, compare, tslc

CONFIG = ROOT / "model_configs" / "smollm2-135m-cpu.yaml"
MODEL = os.environ["TSLC_DEMO_MODEL"]


def raw_server(scratch: Path) -> tuple[subprocess.Popen[bytes], Target]:
    """vLLM's own server with the archive's settings, on a Unix socket as the direct door is."""
    handler = yaml.safe_load(CONFIG.read_text())["handler"]
    flags = []
    for key, value in handler["vllm_engine_config"].items():
        name = key.replace("_", "-")
        flags += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    socket = scratch / "raw.sock"
    environment = {**os.environ, **handler["environment"], "HF_HUB_OFFLINE": "1"}
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", MODEL),
        *("--served-model-name", "quickstart", "--uds", str(socket), *flags),
        *("--disable-uvicorn-access-log",),
    ]
    with (scratch / "raw.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    client = httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)))
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if process.poll() is not None:
            sys.exit((scratch / "raw.log").read_text()[-2000:])
        try:
            if client.get("http://raw/health").status_code == 200:
                return process, Target("raw", ["--url", URL, "--uds", str(socket), *NAMED])
        except httpx.TransportError:
            time.sleep(0.5)
    sys.exit("the raw server did not come up")


URL = "http://door/v1/completions"
NAMED = ["--model", "quickstart"]


def doors(scratch: Path) -> list[Target]:
    dist = scratch / "dist"
    tslc(scratch, "build", "archives/quickstart", "--version", "1.0.0", "-o", str(dist))
    node = tslc(scratch, "up", "--free-ports", "--no-store", "--no-router")
    tslc(scratch, "register", str(dist / "quickstart-1.0.0.mar"))
    (door,) = Path(node["run_dir"]).glob("quickstart@1.0.0@*.sock")
    token = json.loads(Path(node["key_file"]).read_text())["inference"]["key"]
    inference = f"http://127.0.0.1:{node['ports']['inference']}"
    bridge = f"{inference}/predictions/quickstart/1.0.0/v1/completions"
    return [
        Target("direct", ["--url", URL, "--uds", str(door), *NAMED]),
        Target("bridge", ["--url", bridge, "--token", token, *NAMED]),
    ]


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    scratch = Path(tempfile.mkdtemp(prefix="tslc-bench-"))
    process = None
    try:
        process, raw = raw_server(scratch)
        targets = [raw, *doors(scratch)]
        figures = compare(targets, lambda name: (f"{name}_tokens_ratio", f"{name}_ttft_extra_ms"))
        print(json.dumps(figures))
    finally:
        tslc(scratch, "down")
        if process is not None:
            os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
