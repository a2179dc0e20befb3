"""What the router costs: a worker's direct door, and the same door behind Envoy.

    make bench NAME=router        (ROUNDS=20 by default)

One node, one version of the real model. Tokens a second are compared in short rounds
(benchmarks/compare.py), times to the first token in pairs (benchmarks/pairs.py), and Envoy's
processor time is set beside the worker's: where those two share the processor, that is what the
ratio should be, and no noise of the machine is in it. The last line is one JSON object: the worst
ratio, the worst extra time and the largest share of processor time over the numbers of clients.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.compare import Target, compare, tslc
from benchmarks.pairs import extra_ms

ROUNDS = int(os.environ.get("ROUNDS", "20"))
# clients -> requests a client makes in a round: short ones, for the machine's speed drifts
SHAPES = {1: 1, 8: 1, 32: 1}
PAIRS_A_ROUND = 10
SHARE_REQUESTS = 4
BODY = ["--model", "quickstart"]


@dataclass(frozen=True)
class Ways:
    door: Target
    router: Target
    envoy: psutil.Process
    worker: psutil.Process


def ways(scratch: Path) -> Ways:
    dist = scratch / "dist"
    tslc(scratch, "build", "archives/quickstart", "--version", "1.0.0", "-o", str(dist))
    node = tslc(scratch, "up", "--free-ports")
    tslc(scratch, "push", str(dist / "quickstart-1.0.0.mar"))
    tslc(scratch, "promote", "quickstart", "1.0.0", "--wait")
    (door,) = Path(node["run_dir"]).glob("quickstart@1.0.0@*.sock")
    direct = ["--url", "http://door/v1/completions", "--uds", str(door), *BODY]
    (envoy,) = (
        one
        for one in psutil.process_iter()
        if one.name() == "envoy" and any(str(scratch) in word for word in one.cmdline())
    )
    return Ways(
        Target("door", direct),
        Target("router", ["--url", f"{node['router']}/v1/completions", *BODY]),
        envoy,
        psutil.Process(int(door.stem.split("@")[2])),
    )


def processor_share(found: Ways, clients: int) -> float:
    """Envoy's part of the processor time that it and the worker's processes need for a crowd."""

    def used(processes: list[psutil.Process]) -> float:
        return sum(sum(one.cpu_times()[:2]) for one in processes)

    family = [found.worker, *found.worker.children(recursive=True)]
    before = used([found.envoy]), used(family)
    found.router.measure(clients, SHARE_REQUESTS)
    envoy, worker = used([found.envoy]) - before[0], used(family) - before[1]
    return envoy / (envoy + worker)


def measured(found: Ways) -> dict[str, float]:
    figures = compare(
        [found.door, found.router],
        lambda _: ("throughput_ratio", "ttft_extra_ms"),
        SHAPES,
        ROUNDS,
    )
    pairs = ROUNDS * PAIRS_A_ROUND
    print(f"{'clients':>7}  first token, extra ms in {pairs} pairs  processor share")
    extra, shares = [], []
    for clients in SHAPES:
        low, middle, high = extra_ms(
            found.door.arguments, found.router.arguments, clients=clients, pairs=pairs
        )
        extra.append(middle)
        shares.append(processor_share(found, clients))
        spread = f"{middle:.2f}  ({low:.2f} to {high:.2f})"
        print(f"{clients:>7}  {spread:36}{shares[-1]:.4f}", flush=True)
    figures["ttft_extra_ms"] = round(max(extra), 2)
    return {**figures, "processor_share": round(max(shares), 4)}


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    scratch = Path(tempfile.mkdtemp(prefix="tslc-bench-"))
    try:
        print(json.dumps(measured(ways(scratch))))
    finally:
        tslc(scratch, "down")
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
