"""What the router costs: a worker's direct door, and the same door behind Envoy.

    make bench NAME=router        (ROUNDS=6 by default)

One node, one version of the real model. The last line is one JSON object: the worst ratio of
tokens a second and the worst extra time to the first token over the numbers of clients.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from benchmarks.compare import Target, compare, tslc

BODY = ["--model", "quickstart"]


def ways(scratch: Path) -> list[Target]:
    dist = scratch / "dist"
    tslc(scratch, "build", "archives/quickstart", "--version", "1.0.0", "-o", str(dist))
    node = tslc(scratch, "up", "--free-ports")
    tslc(scratch, "push", str(dist / "quickstart-1.0.0.mar"))
    tslc(scratch, "promote", "quickstart", "1.0.0", "--wait")
    (door,) = Path(node["run_dir"]).glob("quickstart@1.0.0@*.sock")
    direct = ["--url", "http://door/v1/completions", "--uds", str(door), *BODY]
    return [
        Target("door", direct),
        Target("router", ["--url", f"{node['router']}/v1/completions", *BODY]),
    ]


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    scratch = Path(tempfile.mkdtemp(prefix="tslc-bench-"))
    try:
        print(json.dumps(compare(ways(scratch), lambda _: ("throughput_ratio", "ttft_extra_ms"))))
    finally:
        tslc(scratch, "down")
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
