"""What a worker's death costs: with router and agent, and with TorchServe alone.

    make bench NAME=recovery      (KILLS=10 by default)

Under constant traffic a worker is killed (SIGKILL), again and again. Counted are the requests that
failed among those that began after the death, and the time until the dead version answers again.
TorchServe alone is given 60 seconds after its first death, and, since it does not come back, no
second one. The engine needs no model. The last line is one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import aiohttp

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "tiny_engine")]

from environments import MODEL, ServingNode, push, served  # noqa: E402
from nodes import Cli, Node, TinyArchives, eventually, start_node  # noqa: E402
from s3 import weed  # noqa: E402
from traffic import Traffic, flowing  # noqa: E402

KILLS = int(os.environ.get("KILLS", "10"))
PATIENCE = 60.0
PER_SECOND = 20.0


def with_agent(root: Path, archives: TinyArchives, stack: ExitStack) -> dict[str, float]:
    server = stack.enter_context(weed())
    one = stack.enter_context(served(server, archives, root))
    push(one.shop, "1.0.0", "1.1.0")
    one("split", MODEL, "1.0.0=50", "1.1.0=50", "--wait")
    back = []
    with flowing(Traffic(one.node.url, MODEL, PER_SECOND)) as traffic:
        time.sleep(2)
        for number in range(KILLS):
            version = ("1.0.0", "1.1.0")[number % 2]
            back.append(_kill_and_wait(one.node, traffic, version))
            time.sleep(2)
        failed = [one for one in traffic.answers if one.failure]
    cut = ("broken stream", "PayloadError")  # an end without [DONE], or without HTTP's own
    broken = sum(one.stream and any(word in one.failure for word in cut) for one in failed)
    new_failures = len(failed) - broken
    for other in [one.failure for one in failed if not one.stream][:5]:
        print(f"  failed: {other[:160]}")
    print(
        f"router and agent   {KILLS} deaths: back after {statistics.median(back):.1f} s "
        f"(median; {max(back):.1f} s at most), {broken} broken streams, "
        f"{new_failures} other failed requests of {len(traffic.answers)}",
        flush=True,
    )
    return {
        "agent_recovery_s": round(statistics.median(back), 2),
        "agent_recovery_worst_s": round(max(back), 2),
        "agent_broken_streams": broken,
        "agent_failed_requests": new_failures,
    }


def _kill_and_wait(node: ServingNode, traffic: Traffic, version: str) -> float:
    (pid,) = node.workers(version)
    at = time.monotonic()
    os.kill(pid, signal.SIGKILL)

    def answers() -> list[float]:
        return [
            one.began
            for one in traffic.answers
            if one.version == version and not one.failure and one.began > at + 1.0
        ]

    if not eventually(lambda: bool(answers()), PATIENCE):
        raise SystemExit(f"{version} did not come back within {PATIENCE:g} s")
    return min(answers()) - at


def alone(archives: TinyArchives, root: Path, stack: ExitStack) -> dict[str, float | None]:
    """TorchServe as `tslc up --no-router` runs it, asked through its own frontend."""
    home = root / "alone"
    home.mkdir()
    cli = Cli(home, home)
    stack.callback(cli, "down")
    node = start_node(cli)
    cli.ok("register", archives.build(MODEL, "1.0.0"))
    answered, failed = asyncio.run(_ask_alone(node))
    print(
        "TorchServe alone   1 death: "
        + (f"back after {answered:.1f} s" if answered is not None else "never back")
        + f", {failed} failed requests in {PATIENCE:g} s",
        flush=True,
    )
    return {"alone_recovery_s": answered, "alone_failed_requests": failed}


async def _ask_alone(node: Node) -> tuple[float | None, int]:
    url = f"{node.inference_url}/predictions/{MODEL}/1.0.0/v1/chat/completions"
    head = {"authorization": f"Bearer {node.inference_key()}"}
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
    told: list[tuple[float, bool]] = []
    timeout = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(timeout=timeout, headers=head) as session:

        async def ask() -> None:
            began = time.monotonic()
            try:
                async with session.post(url, json=body) as answer:
                    await answer.read()
                    told.append((began, answer.status == 200))
            except (aiohttp.ClientError, TimeoutError):
                told.append((began, False))

        tasks = [asyncio.create_task(ask())]
        await tasks[0]
        if not told[0][1]:
            raise SystemExit("TorchServe alone does not answer")
        pid = int(node.door(MODEL, "1.0.0").stem.rsplit("@", 1)[1])
        # Requests are under way when it dies, as they are where there is traffic.
        tasks += [asyncio.create_task(ask()) for _ in range(5)]
        os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        while time.monotonic() - killed < PATIENCE:
            tasks.append(asyncio.create_task(ask()))
            await asyncio.sleep(1 / PER_SECOND)
        await asyncio.gather(*tasks)
    later = [(began, good) for began, good in told if began > killed]
    good = [began for began, fine in later if fine]
    return (min(good) - killed if good else None), sum(not fine for _, fine in later)


def main() -> None:
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tslc-", dir="/tmp")))
        (root / "specs").mkdir()
        archives = TinyArchives(Cli(root / "none", root / "specs"), root / "specs")
        figures = {**with_agent(root, archives, stack), **alone(archives, root, stack)}
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
