"""Environments to test on: a store with versions of the tiny engine, and nodes that serve it."""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import psutil

from nodes import Node, TinyArchives, eventually, kill
from s3 import S3Server
from store_shop import Shop
from tslc.domain.release.report import node_id_of

MODEL = "m"


@dataclass(frozen=True)
class ServingNode:
    """A node with its router and its agent."""

    node: Node
    shop: Shop
    url: str

    def __call__(self, *words: object) -> Any:
        """A command on this node; it has to succeed."""
        return self.shop.ok(*words)

    @property
    def folder(self) -> Path:
        return self.node.root

    def program(self, name: str) -> psutil.Process:
        """The process that a program of the node is now."""
        run = json.loads((self.folder / "supervisor" / f"{name}.run.json").read_text())
        return psutil.Process(run["pid"])

    def kill(self, name: str) -> None:
        kill(self.program(name).pid)

    def workers(self, version: str, model: str = MODEL) -> list[int]:
        """The workers of a version that listen, by their sockets."""
        found = sorted((self.folder / "run").glob(f"{model}@{version}@*.sock"))
        pids = [int(path.stem.rsplit("@", 1)[1]) for path in found]
        return [pid for pid in pids if psutil.pid_exists(pid)]

    def ask(self, model: str = MODEL, *, key: str | None = None, **body: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        message = {"role": "user", "content": "hello"}
        return httpx.post(
            f"{self.url}/v1/chat/completions",
            json={"model": model, "messages": [message], "max_tokens": 2, **body},
            headers=headers,
            timeout=60,
            verify=False,  # no TLS, so no certificates to read, which takes longer than the answer
        )

    def versions(self, model: str = MODEL) -> Mapping[str, Any]:
        """What the node reports of a model's versions."""
        status = self.shop.ok("status", "--env", "dev")
        told = {one["node"]: one for one in status["nodes"]}
        report = told[node_id(self.node)]
        return dict(report["models"].get(model, {}).get("versions", {}))

    def log(self) -> str:
        return (self.folder / "logs" / "agent.log").read_text()

    def access_log(self) -> list[dict[str, Any]]:
        text = (self.folder / "router" / "access.log").read_text()
        return [json.loads(line) for line in text.splitlines()]


def node_id(node: Node) -> str:
    return node_id_of(None, socket.gethostname(), node.root.name)


@dataclass(frozen=True)
class Served:
    """An environment `dev` with nodes. `shop` is for commands from anywhere."""

    shop: Shop
    nodes: Sequence[ServingNode]

    @property
    def node(self) -> ServingNode:
        return self.nodes[0]

    def __call__(self, *words: object) -> Any:
        return self.shop.ok(*words)


def push(shop: Shop, *versions: str, model: str = MODEL) -> None:
    for version in versions:
        shop.ok("push", shop.archives.build(model, version, environment={"V": version}))


@contextmanager
def served(
    s3: S3Server, archives: TinyArchives, root: Path, *, nodes: int = 1, up: Sequence[str] = ()
) -> Iterator[Served]:
    """`root` is short: sockets lie below it. All nodes share a home, a cache and the bucket."""
    shop = Shop(s3, s3.new_bucket(), archives, root)
    (root / "home").mkdir(exist_ok=True)
    with ExitStack() as stack:
        running = []
        for number in range(nodes):
            name = f"n{number}"
            stack.callback(shop.cli, "down", "--name", name, env=shop.env)
            running.append(_start(shop, name, up))
        yield Served(shop, running)


def _start(shop: Shop, name: str, words: Sequence[str]) -> ServingNode:
    told = shop.ok("up", "--free-ports", "--name", name, *words)
    node = Node(
        cli=shop.cli,
        root=Path(told["folder"]),
        pid=told["pid"],
        ports=told["ports"],
        run_dir=Path(told["run_dir"]),
        key_file=Path(told["key_file"]),
    )
    return ServingNode(node, replace(shop), told["router"])


@contextmanager
def asking(ask: Callable[[], int], every: float = 0.1) -> Iterator[Counter[int]]:
    """Somebody who asks again and again, until the block ends; how often each status came."""
    statuses: Counter[int] = Counter()
    done = threading.Event()

    def go_on() -> None:
        while not done.wait(every):
            statuses[ask()] += 1

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield statuses
    finally:
        done.set()
        thread.join()


def restarted(node: ServingNode, name: str, before: int, seconds: float = 30.0) -> bool:
    """Whether a program runs again as another process than `before`."""

    def again() -> bool:
        try:
            return node.program(name).pid != before and node.program(name).is_running()
        except (psutil.Error, OSError, ValueError):
            return False

    return eventually(again, seconds)
