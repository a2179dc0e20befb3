"""`make release-demo`: commits of the support bot go through the pipeline, on this machine.

The stages are those of deploy/codepipeline: its buildspecs, run as CodeBuild runs them, and its
release, carried out by a real `tslc pipeline worker` that takes its jobs from a server speaking
CodePipeline's protocol; store, nodes, engines and models are real. The first two commits reach all
of production's traffic, step by step. The third answers a golden prompt wrongly and is stopped
before anybody meets it; the fourth fails its users and is taken back. Ends with 1 when anything
goes otherwise.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from codepipeline_server import Running, codepipeline  # noqa: E402
from release_line import Outcome, ReleaseLine  # noqa: E402
from s3 import S3Server, weed  # noqa: E402

MODEL, SPEC = "support-bot", "archives/support-bot"
LEFT_OUT = ("guard_training", "__pycache__", "dist", "make_guard.py", "release_demo.py")
QUESTION = "How do I return a lamp?"
PLAN = """\
# Two steps, each watched for twenty seconds.
steps:
  - {split: 20%, bake: 20s}
  - {split: 50%, bake: 20s}
gates: {errors: 10%, min_requests: 5}
patience: 5m
"""
# Three versions of two engines each are what a machine of 24 GB holds.
SETTINGS = """\
environments:
  staging: {trusted_keys: [release.pub], allow_version_header: true, strategy: recreate}
  production: {trusted_keys: [release.pub]}
"""
SICK = """\
from tslc_handlers import RagGuardVLLMHandler, Request, RequestContext, Response


class Sick(RagGuardVLLMHandler):
    async def preprocess(self, request: Request, context: RequestContext) -> Request | Response:
        if "return" in str(request.body.get("messages")):
            raise RuntimeError("it can't speak of returns")
        return await super().preprocess(request, context)
"""


def expect(good: bool, what: str) -> None:
    if not good:
        raise SystemExit(f"not as it should be: {what}")


class Demo:
    def __init__(self, scratch: Path, s3: S3Server, server: Running) -> None:
        self.home, self.checkout = scratch / "home", scratch / "checkout"
        self.spec = self.checkout / SPEC
        shutil.copytree(ROOT / SPEC, self.spec, ignore=shutil.ignore_patterns(*LEFT_OUT))
        (self.checkout / "release.yaml").write_text(PLAN)
        (self.checkout / "tslc.yaml").write_text(SETTINGS)
        (self.checkout / ".gitignore").write_text("release.key\n")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("TSLC_", "AWS_"))}
        named = {k: os.environ[k] for k in ("TSLC_DEMO_MODEL", "TSLC_DEMO_GUARD")}
        self.environment = {
            **kept,
            **named,
            **s3.environment,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TSLC_HOME": str(self.home),
            "TSLC_STORE_URL": f"s3://{s3.new_bucket()}",
            "TSLC_CACHE_PATH": str(scratch / "cache"),
        }
        self.tslc("keygen", "release")
        subprocess.run(("git", "init", "-q", str(self.checkout)), check=True)
        self.routers = {
            env: self.tslc("up", "--free-ports", "--name", env, "--env", env, "--json")["router"]
            for env in ("staging", "production")
        }
        self.line = ReleaseLine(
            *(self.checkout, scratch / "out", MODEL, SPEC, self.environment, server),
            self.routers["staging"],
            lambda text: print(f"  {text}", flush=True),
        )

    def tslc(self, *words: str) -> dict:  # type: ignore[type-arg]
        done = subprocess.run(
            ("tslc", *words),
            cwd=self.checkout,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"tslc {' '.join(words)}: {done.stderr}")
        return json.loads(done.stdout) if "--json" in words else {}

    def shares(self) -> dict[str, float]:
        status = self.tslc("status", "--env", "production", "--json")
        return {one: share for one, share in status["models"].get(MODEL, {}).items() if share}

    @contextmanager
    def users(self) -> Iterator[Counter[int]]:
        """Two of them, who ask production again and again."""
        statuses: Counter[int] = Counter()
        done = threading.Event()

        def ask() -> None:
            message = {"role": "user", "content": QUESTION}
            body = {"model": MODEL, "messages": [message], "max_tokens": 24, "temperature": 0}
            with httpx.Client(base_url=self.routers["production"], timeout=120) as client:
                while not done.wait(0.5):
                    statuses[client.post("/v1/chat/completions", json=body).status_code] += 1

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            yield statuses
        finally:
            done.set()
            for thread in threads:
                thread.join()

    def carry(self, message: str) -> Outcome:
        version = self.line.commit(message)
        print(f"\ncommit {version}: {message}", flush=True)
        outcome = self.line.carry(version)
        said = f"stopped in {outcome.stage}: {outcome.reason}" if outcome.reason else "done"
        print(f"  {said}\n  production: {self.shares()}", flush=True)
        return outcome

    def keep_only(self, version: str) -> None:
        """The versions before go, to make room for the next one."""
        status = self.tslc("status", "--env", "production", "--json")
        for other in set(status["models"][MODEL]) - {version}:
            self.tslc("retire", MODEL, other, "--env", "production", "--wait", "--json")

    def run(self) -> None:
        first = self.carry("the support bot")
        expect(not first.reason, "the first version is served")

        config = self.spec / "model-config.yaml"
        config.write_text(config.read_text().replace("top_k: 2", "top_k: 3"))
        with self.users() as statuses:
            second = self.carry("it reads three passages")
        expect(self.shares() == {second.version: 100}, "the second version has all traffic")
        expect(set(statuses) == {200}, f"no request failed: {dict(statuses)}")
        print(f"  its users: {statuses[200]} answers, none failed", flush=True)
        self.keep_only(second.version)

        golden = self.spec / "golden.jsonl"
        good = golden.read_text()
        golden.write_text(good.replace("119", "911"))
        third = self.carry("a price that is not in the documents")
        expect(third.stage == "test" and "golden" in third.reason, "it is stopped before traffic")
        golden.write_text(good)

        (self.spec / "sick.py").write_text(SICK)
        spec = self.spec / "archive.yaml"
        spec.write_text(spec.read_text().replace("handler: rag-guard", "handler: sick.py"))
        with self.users():
            fourth = self.carry("a handler that fails some users")
        expect("answers were errors" in fourth.reason, "it is taken back")
        expect(self.shares() == {second.version: 100}, "the second version has its traffic again")


def main() -> None:
    scratch = Path(tempfile.mkdtemp(prefix="tslc-", dir="/tmp"))
    with weed() as s3, codepipeline() as server:
        demo = Demo(scratch, s3, server)
        try:
            with demo.line.worker():
                demo.run()
        except BaseException:  # told, and raised again
            print(f"what was left for a look: {demo.line.out}", file=sys.stderr)
            raise
        else:
            print("\nall four went as they should", flush=True)
        finally:
            for env in ("staging", "production"):
                demo.tslc("down", "--name", env)
    shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
