"""What retrieval and the guard cost: plain, RAG, guard and both, the same model, in one run.

    make bench NAME=handlers        (ROUNDS=6 by default)

All four versions of archives/support-bot are up at once and idle but the one being asked
(benchmarks/compare.py tells how). The model computes with one thread and the guard with another,
as two GPUs would. Nothing is refused (the guard's threshold is 1): all answers are of one length.

- *_tokens_ratio: tokens a second of streams, of plain's, at the worst number of clients.
- guard_ttft_extra_ms: what judging the input adds to the time to the first token (the output is not
  judged in this pair); guard_alone_ms: what a verdict takes when nobody else wants anything.
- prefix_hit_*: the share of prompt tokens that vLLM found in its prefix cache, with our order
  (the system prompt, then the passages in the order of the knowledge base) and with the usual one
  (the passages by score, in front of the system prompt), the same questions and passages.
- retrieval_*: benchmarks/retrieval.py.

The last line is one JSON object.
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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from benchmarks import retrieval
from benchmarks.compare import ROOT, Target, compare, tslc
from tslc_handlers.executor import IN_THE_ENGINE
from tslc_handlers.guard.prompt import LLAMA_GUARD_3, Role, Turn, guard_prompt
from tslc_handlers.rag.index import LocalIndex
from tslc_handlers.rag.passages import Query
from tslc_handlers.rag.prompt import passage_text

SPEC = ROOT / "archives" / "support-bot"
QUESTIONS = SPEC / "qa.jsonl"
MODEL, GUARD = os.environ["TSLC_DEMO_MODEL"], os.environ["TSLC_DEMO_GUARD"]
URL = "http://door/v1/chat/completions"
SHAPES = {1: 4, 8: 3}
CACHE_BYTES = 2**29
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
SYSTEM = (
    "You are the support bot of Lumen, a shop of lamps and lights for e-bikes. Answer in one or "
    "two short sentences, politely and plainly. Use the passages where they help. Never invent "
    "a price, a date or a model. If you do not know, say so and name the shop's telephone "
    "number. Do not speak of other shops. Prices are in euros and hold for all countries of the "
    "European Union. When a customer is angry, stay calm and offer to call back. Always end "
    "with a full stop."
)


@dataclass
class Server:
    """One version behind uvicorn, on a Unix socket."""

    name: str
    process: subprocess.Popen[bytes]
    socket: Path
    log: Path

    @property
    def client(self) -> httpx.Client:
        return httpx.Client(transport=httpx.HTTPTransport(uds=str(self.socket)), timeout=120)

    def wait(self) -> None:
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                sys.exit(f"{self.name}: {self.log.read_text()[-3000:]}")
            try:
                if self.client.get("http://door/health").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.5)
        sys.exit(f"{self.name} did not come up")

    def counter(self, name: str) -> float:
        lines = self.client.get("http://door/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name + "{"))


def config(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((SPEC / "model-config.yaml").read_text())
    handler = document["handler"]
    handler["system_prompt"] = SYSTEM
    # Five models and three guards are up at once: half a GiB of cache each.
    cache = {"kv_cache_memory_bytes": CACHE_BYTES}
    handler["vllm_engine_config"] |= {"block_size": 32, "enable_prefix_caching": True, **cache}
    handler["environment"] = {**handler["environment"], **ONE_THREAD}
    del handler["environment"]["VLLM_CPU_KVCACHE_SPACE"]
    handler["served_model_name"] = "support-bot"
    guard = handler.pop("guard", {})
    if "rag" not in name:
        handler.pop("rag", None)
    if "guard" in name:
        stages = ["input"] if name == "guard-input" else ["input", "output"]
        handler["guard"] = guard | {
            "threshold": 1,
            "stages": stages,
            "environment": ONE_THREAD,
            "vllm_engine_config": guard["vllm_engine_config"] | cache,
        }
    return document


def start(name: str, scratch: Path) -> Server:
    """Build the variant and serve it."""
    kind = name.removesuffix("-input")
    folder = scratch / name
    folder.mkdir()
    spec: dict[str, Any] = {
        "model": "support-bot",
        "handler": "vllm" if kind == "plain" else kind,
        "model_config": "model-config.yaml",
        "weights": MODEL,
        "golden": "golden.jsonl",
    }
    if "rag" in kind:
        spec["rag"] = {"knowledge": [str(SPEC / "knowledge")]}
    if "guard" in kind:
        spec["guard"] = {"model": GUARD}
    (folder / "archive.yaml").write_text(yaml.safe_dump(spec))
    (folder / "model-config.yaml").write_text(yaml.safe_dump(config(name)))
    shutil.copy(SPEC / "golden.jsonl", folder)
    out = scratch / "dist"
    words = ("--version", name, "-o", str(out), "--format", "no-archive")
    built = tslc(scratch, "build", str(folder), *words)
    socket, log = scratch / f"{name}.sock", scratch / f"{name}.log"
    command = [sys.executable, "-m", "tslc_handlers.serve", built["archive"], "--uds", str(socket)]
    environment = {
        **os.environ,
        "TSLC_WEIGHTS_DIR": str(out / "weights"),
        "TSLC_RUN_DIR": str(scratch / "run"),
    }
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, env=environment, stdout=file, stderr=file, start_new_session=True
        )
    server = Server(name, process, socket, log)
    server.wait()
    return server


def target(server: Server) -> Target:
    words = ["--url", URL, "--uds", str(server.socket), "--model", "support-bot"]
    return Target(server.name, [*words, "--questions", str(QUESTIONS), "--tokens", "48"])


def guard_alone(scratch: Path) -> float:
    """p50 in ms of a verdict of the guard as a server of its own."""
    socket = scratch / "guard.sock"
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", GUARD),
        *("--served-model-name", "guard", "--uds", str(socket), "--disable-uvicorn-access-log"),
        *("--dtype", "float32", "--enforce-eager", "--max-model-len", "2048"),
        *("--enable-prefix-caching", "--distributed-executor-backend", IN_THE_ENGINE),
        *("--kv-cache-memory-bytes", str(CACHE_BYTES)),
    ]
    own = {**ONE_THREAD, "HF_HUB_OFFLINE": "1"}
    log = scratch / "guard.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, env={**os.environ, **own}, stdout=file, stderr=file, start_new_session=True
        )
    server = Server("guard", process, socket, log)
    try:
        server.wait()
        times = []
        for number, question in enumerate(questions()):
            prompt = guard_prompt([Turn(Role.USER, f"{question} ({number})")], LLAMA_GUARD_3)
            body = {"model": "guard", "prompt": prompt, "max_tokens": 16, "logprobs": 5}
            body |= {"temperature": 0, "add_special_tokens": False}
            began = time.perf_counter()
            server.client.post("http://door/v1/completions", json=body).raise_for_status()
            times.append(time.perf_counter() - began)
        return statistics.median(times[3:]) * 1e3
    finally:
        stop([server])


def questions() -> list[str]:
    return [json.loads(line)["question"] for line in QUESTIONS.read_text().splitlines() if line]


def prefix_hits(plain: Server, rag: Server, index: Path) -> dict[str, float]:
    """Every question, by three users in other words, through retrieval and in the usual order."""
    asked = [f"{how}{q}" for q in questions() for how in ("", "Hello. ", "Quick question: ")]
    shares = {}
    local = LocalIndex(index, min_similarity=0.25)
    for name, server in (("prefix_hit_ours", rag), ("prefix_hit_naive", plain)):
        before = [server.counter(f"vllm:prefix_cache_{what}_total") for what in ("hits", "queries")]
        for text in asked:
            messages = [{"role": "user", "content": text}]
            if server is plain:
                hits = local.search(Query(text), 2)
                found = "".join(passage_text(hit) for hit in hits)
                messages.insert(0, {"role": "system", "content": f"{found}\n{SYSTEM}"})
            body = {"model": "support-bot", "messages": messages, "max_tokens": 1}
            server.client.post(URL, json=body).raise_for_status()
        after = [server.counter(f"vllm:prefix_cache_{what}_total") for what in ("hits", "queries")]
        shares[name] = round((after[0] - before[0]) / (after[1] - before[1]), 4)
    return shares


def stop(servers: Sequence[Server]) -> None:
    for server in servers:
        os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait()


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    scratch = Path(tempfile.mkdtemp(prefix="tslc-bench-"))
    servers: list[Server] = []
    try:
        figures: dict[str, float] = {"guard_alone_ms": round(guard_alone(scratch), 2)}
        for name in ("plain", "rag", "guard", "rag-guard", "guard-input"):
            servers.append(start(name, scratch))
        found = compare([target(one) for one in servers], _figures, SHAPES)
        figures["rag_tokens_ratio"] = found["rag_tokens_ratio"]
        figures["guard_tokens_ratio"] = found["guard_tokens_ratio"]
        figures["rag_guard_tokens_ratio"] = found["rag-guard_tokens_ratio"]
        figures["guard_ttft_extra_ms"] = found["guard-input_ttft_extra_ms"]
        index = scratch / "dist" / "support-bot-rag" / "index"
        figures |= prefix_hits(servers[0], servers[1], index)
        stop(servers)
        servers.clear()
        figures |= retrieval.main()
        print(json.dumps(figures))
    finally:
        stop(servers)
        shutil.rmtree(scratch, ignore_errors=True)


def _figures(name: str) -> tuple[str, str]:
    return f"{name}_tokens_ratio", f"{name}_ttft_extra_ms"


if __name__ == "__main__":
    main()
