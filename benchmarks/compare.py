"""Ways to the same model, measured against each other in one run.

A round asks each way once, in turning order; the first round warms up and is not counted. Tokens a
second are compared within a round, and the median of the rounds' ratios is quoted, with the
quartiles beside it: they tell how noisy the machine was. Times to first token are compared by the
medians of all requests of all rounds.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ROUNDS = int(os.environ.get("ROUNDS", "6"))
# clients -> requests a client makes in a round
SHAPES: Mapping[int, int] = {1: 4, 8: 3, 32: 2}


@dataclass
class Target:
    """One way to the model, and what was measured on it: a list of rounds for each shape."""

    name: str
    arguments: list[str]
    rounds: dict[int, list[dict[str, Any]]] = field(default_factory=dict)

    def measure(self, clients: int, requests: int) -> dict[str, Any]:
        shape = ["--clients", str(clients), "--requests", str(requests)]
        command = [sys.executable, "-m", "benchmarks.load", *self.arguments, *shape]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{self.name}, {clients} clients: {done.stderr[-2000:]}")
        return dict(json.loads(done.stdout))

    def rate(self, clients: int) -> float:
        return statistics.median(r["tokens_per_second"] for r in self.rounds[clients])

    def ttft(self, clients: int) -> float:
        """NaN where a round has one request a client: a crowd that begins in step tells nothing."""
        found = [ms for r in self.rounds[clients] for ms in r["ttft_ms"]]
        return statistics.median(found) if found else math.nan

    def ratios(self, base: Target, clients: int) -> tuple[float, float, float]:
        """The lower quartile, the median and the upper quartile of the rounds' ratios."""
        pairs = zip(self.rounds[clients], base.rounds[clients], strict=True)
        found = [a["tokens_per_second"] / b["tokens_per_second"] for a, b in pairs]
        low, middle, high = statistics.quantiles(found, n=4, method="inclusive")
        return low, middle, high


def compare(
    targets: Sequence[Target],
    figures_of: Callable[[str], tuple[str, str]],
    shapes: Mapping[int, int] = SHAPES,
    rounds: int = ROUNDS,
) -> dict[str, float]:
    """Measure shape by shape, print a table, and give the worst ratio and the worst extra time of
    each way but the first, called as `figures_of` says of its name."""
    base, *others = targets
    columns = (
        f"{'tokens/s':>9}{'of ' + base.name:>11}{'quartiles':>13}{'ttft ms':>9}{'extra ms':>10}"
    )
    print(f"{'clients':>7}  {'way':8}{columns}")
    figures: dict[str, float] = {}
    for clients, requests in shapes.items():
        _measure(targets, clients, requests, rounds)
        for target in targets:
            low, ratio, high = target.ratios(base, clients)
            ttft = target.ttft(clients)
            extra = ttft - base.ttft(clients)
            print(
                f"{clients:>7}  {target.name:8}{target.rate(clients):>9.1f}{ratio:>11.3f}"
                f"{low:>8.3f}-{high:.3f}{ttft:>9.1f}{extra:>10.1f}",
                flush=True,
            )
            if target in others:
                one, other = figures_of(target.name)
                figures[one] = round(min(figures.get(one, 9.0), ratio), 4)
                if not math.isnan(extra):
                    figures[other] = round(max(figures.get(other, -1e9), extra), 2)
    return figures


def _measure(targets: Sequence[Target], clients: int, requests: int, rounds: int) -> None:
    for number in range(rounds + 1):
        turn = number % len(targets)
        for target in [*targets[turn:], *targets[:turn]]:
            measured = target.measure(clients, requests)
            if number:
                target.rounds.setdefault(clients, []).append(measured)


def tslc(scratch: Path, *words: str) -> Any:
    """A command with a home, a cache and settings of its own; it has to succeed."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TSLC_", "AWS_"))}
    own = {"TSLC_HOME": str(scratch), "TSLC_CACHE_PATH": str(scratch / "cache")}
    model = {"TSLC_DEMO_MODEL": os.environ["TSLC_DEMO_MODEL"]}
    command = [sys.executable, "-m", "tslc", *words, "--json"]
    done = subprocess.run(
        command, cwd=ROOT, env={**kept, **own, **model}, stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout)
