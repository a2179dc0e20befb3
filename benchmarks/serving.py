"""What the handler costs: raw vLLM server, direct door, bridge; the same model and settings.

    make bench NAME=serving        (ROUNDS=6 by default)

All three are up at once and idle but the one being asked. A round asks each once, in turning order;
the first round warms up and is not counted. Tokens a second are compared within a round, and the
median of the rounds' ratios is quoted, with the quartiles beside it: they tell how noisy the
machine was. Times to first token are compared by the medians of all requests of all rounds. The
last line is one JSON object: the worst ratio and the worst extra time over the numbers of clients.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "model_configs" / "smollm2-135m-cpu.yaml"
MODEL = os.environ["TSLC_DEMO_MODEL"]
ROUNDS = int(os.environ.get("ROUNDS", "6"))
# clients -> requests a client makes in a round
SHAPES = {1: 4, 8: 3, 32: 2}


@dataclass
class Target:
    """One way to the model, and what was measured on it: a list of rounds for each shape."""

    name: str
    arguments: list[str]
    rounds: dict[int, list[dict[str, Any]]] = field(default_factory=dict)

    def measure(self, clients: int) -> dict[str, Any]:
        shape = ["--clients", str(clients), "--requests", str(SHAPES[clients])]
        command = [sys.executable, "-m", "benchmarks.load", *self.arguments, *shape]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{self.name}, {clients} clients: {done.stderr[-2000:]}")
        return dict(json.loads(done.stdout))

    def rate(self, clients: int) -> float:
        return statistics.median(r["tokens_per_second"] for r in self.rounds[clients])

    def ttft(self, clients: int) -> float:
        return statistics.median(ms for r in self.rounds[clients] for ms in r["ttft_ms"])

    def ratios(self, raw: Target, clients: int) -> tuple[float, float, float]:
        """The lower quartile, the median and the upper quartile of the rounds' ratios."""
        pairs = zip(self.rounds[clients], raw.rounds[clients], strict=True)
        found = [a["tokens_per_second"] / b["tokens_per_second"] for a, b in pairs]
        low, middle, high = statistics.quantiles(found, n=4, method="inclusive")
        return low, middle, high


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


def tslc(scratch: Path, *words: str) -> Any:
    environment = {**os.environ, "TSLC_HOME": str(scratch)}
    command = [sys.executable, "-m", "tslc", *words, "--json"]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def doors(scratch: Path) -> list[Target]:
    dist = scratch / "dist"
    tslc(scratch, "build", "archives/quickstart", "--version", "1.0.0", "-o", str(dist))
    node = tslc(scratch, "up", "--free-ports", "--no-store")
    tslc(scratch, "register", str(dist / "quickstart-1.0.0.mar"))
    (door,) = Path(node["run_dir"]).glob("quickstart@1.0.0@*.sock")
    token = json.loads(Path(node["key_file"]).read_text())["inference"]["key"]
    inference = f"http://127.0.0.1:{node['ports']['inference']}"
    bridge = f"{inference}/predictions/quickstart/1.0.0/v1/completions"
    return [
        Target("direct", ["--url", URL, "--uds", str(door), *NAMED]),
        Target("bridge", ["--url", bridge, "--token", token, *NAMED]),
    ]


def measure(targets: list[Target], clients: int) -> None:
    for number in range(ROUNDS + 1):
        turn = number % len(targets)
        for target in targets[turn:] + targets[:turn]:
            measured = target.measure(clients)
            if number:
                target.rounds.setdefault(clients, []).append(measured)


def report(targets: list[Target]) -> None:
    """Measure and print shape by shape, then the worst figures as JSON."""
    raw, *others = targets
    columns = f"{'tokens/s':>9}{'of raw':>8}{'quartiles':>13}{'ttft ms':>9}{'extra ms':>10}"
    print(f"{'clients':>7}  {'way':8}{columns}")
    figures: dict[str, float] = {}
    for clients in SHAPES:
        measure(targets, clients)
        for target in targets:
            low, ratio, high = target.ratios(raw, clients)
            ttft = target.ttft(clients)
            extra = ttft - raw.ttft(clients)
            print(
                f"{clients:>7}  {target.name:8}{target.rate(clients):>9.1f}{ratio:>8.3f}"
                f"{low:>8.3f}-{high:.3f}{ttft:>9.1f}{extra:>10.1f}",
                flush=True,
            )
            if target in others:
                kept = f"{target.name}_tokens_ratio", f"{target.name}_ttft_extra_ms"
                figures[kept[0]] = round(min(figures.get(kept[0], 9.0), ratio), 4)
                figures[kept[1]] = round(max(figures.get(kept[1], -1e9), extra), 2)
    print(json.dumps(figures))


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    scratch = Path(tempfile.mkdtemp(prefix="tslc-bench-"))
    process = None
    try:
        process, raw = raw_server(scratch)
        targets = [raw, *doors(scratch)]
        report(targets)
    finally:
        tslc(scratch, "down")
        if process is not None:
            os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
