"""How fast a rollback is: two nodes under traffic, a warm version to go back to.

    make bench NAME=rollback      (ROUNDS=50 by default)

Each round promotes the bad version, then times `tslc rollback --wait` from the start of the
command: until the last request began that the bad version answered, and until the command
returned. The engine needs no model. The last line is one JSON object, in seconds.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "tiny_engine")]

from environments import MODEL, push, served  # noqa: E402
from nodes import Cli, TinyArchives  # noqa: E402
from s3 import weed  # noqa: E402
from traffic import Traffic, flowing  # noqa: E402

ROUNDS = int(os.environ.get("ROUNDS", "50"))
PER_SECOND = 25.0


def quantile(found: list[float], share: float) -> float:
    """The smallest value that so large a share of all is not above."""
    return sorted(found)[max(0, -(-int(share * 100) * len(found) // 100) - 1)]


def main() -> None:
    last, returned = [], []
    with ExitStack() as stack:
        server = stack.enter_context(weed())
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tslc-", dir="/tmp")))
        (root / "specs").mkdir()
        archives = TinyArchives(Cli(root / "none", root / "specs"), root / "specs")
        both = stack.enter_context(served(server, archives, root, nodes=2))
        push(both.shop, "1.0.0", "1.1.0")
        both("promote", MODEL, "1.0.0", "--wait")
        for number in range(ROUNDS):
            both("promote", MODEL, "1.1.0", "--wait")
            with ExitStack() as load:
                flows = [
                    load.enter_context(flowing(Traffic(node.url, MODEL, PER_SECOND)))
                    for node in both.nodes
                ]
                time.sleep(0.5)
                began = time.monotonic()
                both("rollback", MODEL, "--wait")
                returned.append(time.monotonic() - began)
                time.sleep(0.3)
            failures = [one for flow in flows for one in flow.failures()]
            if failures:
                raise SystemExit(f"round {number}: {failures[:3]}")
            last.append(max(0.0, max(flow.last("1.1.0") for flow in flows) - began))
    print(f"{'':24}{'median':>8}{'p99':>8}{'worst':>8}   seconds, {ROUNDS} rounds, 2 nodes")
    for name, found in (("last on the bad version", last), ("command returned", returned)):
        middle, most = statistics.median(found), max(found)
        print(f"{name:24}{middle:>8.2f}{quantile(found, 0.99):>8.2f}{most:>8.2f}")
    figures = {
        "rollback_last_bad_p50_s": round(statistics.median(last), 3),
        "rollback_last_bad_p99_s": round(quantile(last, 0.99), 3),
        "rollback_returned_p99_s": round(quantile(returned, 0.99), 3),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
