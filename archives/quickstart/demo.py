"""`make demo`: the main job with a real model, as the commands a person would type.

Builds quickstart 1.0.0 and 1.1.0 (another system prompt), starts a node (TorchServe, router, agent
and a store), signs and pushes both, gives 1.0.0 the traffic, splits it 90/10 and counts a thousand
real answers, promotes 1.1.0, rolls back, serves a model that answers from documents behind a guard
(support_bot.py), shows the history, stops everything and looks for leftovers. Ends with 1 at the
first command that fails, and when an answer or a count is wrong.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import httpx
import psutil
import support_bot

TSLC = str(Path(sys.executable).parent / "tslc")
SPEC = "archives/quickstart"
EXACTLY = ("--temperature", "0", "--max-tokens", "40")
CAPITAL = ("What is the capital of France?", *EXACTLY)
WHO = "Who are you?"
ANSWERS = 1000
AT_ONCE = 32
ADA = "You are Ada, the support bot of a lighthouse museum. Answer in one short sentence."

SETTINGS = """\
store: {url: local}
cache: {path: cache}
environments:
  production: {trusted_keys: [release.pub]}
default_environment: production
"""


def binomial_range(count: int, share: float) -> tuple[int, int]:
    """Where 99.9% of such counts lie: mean ± 3.29 standard deviations of the binomial."""
    mean, spread = count * share, 3.29 * math.sqrt(count * share * (1 - share))
    return math.floor(mean - spread), math.ceil(mean + spread)


class Demo:
    """Types commands into a home and an output folder of its own."""

    def __init__(self, scratch: Path) -> None:
        self.dist, self.key = scratch / "dist", scratch / "release"
        # Settings of its own: production trusts the demo's key and nothing else.
        settings = scratch / "tslc.yaml"
        settings.write_text(SETTINGS)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("TSLC_", "AWS_"))}
        self.environment: dict[str, str] = {
            **inherited,
            "TSLC_DEMO_MODEL": os.environ["TSLC_DEMO_MODEL"],
            "TSLC_DEMO_GUARD": os.environ["TSLC_DEMO_GUARD"],
            "TSLC_HOME": str(scratch),
            "TSLC_CONFIG": str(settings),
        }

    def step(self, title: str) -> None:
        print(f"\n\033[1m{title}\033[0m" if sys.stdout.isatty() else f"\n{title}", flush=True)

    def tslc(self, *words: str) -> None:
        shown = shlex.join(words).replace(str(self.dist), "$DIST")
        print(f"$ tslc {shown}", flush=True)
        done = subprocess.run([TSLC, *words], env=self.environment, check=False)
        if done.returncode:
            raise SystemExit(f"tslc {words[0]} ended with {done.returncode}")

    def build(self, version: str, *more: str) -> None:
        self.tslc("build", SPEC, "--version", version, "-o", str(self.dist), *more)

    def run(self) -> None:
        self.step("1. Two versions of a model: the same weights, another system prompt")
        self.build("1.0.0")
        self.build("1.1.0", "--set", f"handler.system_prompt={ADA}")

        self.step("2. A node: TorchServe on loopback, a router, an agent, and a store of its own")
        self.tslc("up", "--free-ports")

        self.step("3. Push both, signed: of the second, only what is new is sent")
        self.tslc("keygen", str(self.key))
        for version in ("1.0.0", "1.1.0"):
            archive = str(self.dist / f"quickstart-{version}.mar")
            self.tslc("push", archive, "--sign", f"{self.key}.key")
        self.tslc("list")
        self.tslc("diff", "quickstart", "1.0.0", "1.1.0")

        self.step("4. All traffic to 1.0.0: it is loaded, and has to pass its golden prompts")
        self.tslc("promote", "quickstart", "1.0.0", "--wait", "--reason", "first release")
        self.tslc("chat", "quickstart@1.0.0", *CAPITAL)
        self.ask(WHO)

        self.step(f"5. A canary: 90/10, counted by {ANSWERS:,} real answers through the router")
        canary = ("1.0.0=90", "1.1.0=10", "--sticky", "header:x-user-id")
        self.tslc("split", "quickstart", *canary, "--wait", "--reason", "canary")
        self.tslc("status", "--env", "production")
        self.count({"1.0.0": 0.9, "1.1.0": 0.1})

        self.step("6. Promote it, and roll back: the version before is still warm")
        self.tslc("promote", "quickstart", "1.1.0", "--wait", "--reason", "the canary is fine")
        self.ask(WHO)
        self.tslc("rollback", "quickstart", "--wait", "--reason", "it talks of lighthouses")
        self.ask(WHO)

        self.step("7. A model that answers from documents, with a guard around it (a tiny one)")
        self.support_bot()

        self.step("8. Who did what, when and why")
        self.tslc("history")
        self.tslc("history", "verify")

    def support_bot(self) -> None:
        self.tslc("retire", "quickstart", "1.1.0", "--wait", "--reason", "make room")
        for version, spec in (
            ("1.0.0", support_bot.SPEC),
            ("1.1.0", f"{support_bot.SPEC}/forced.yaml"),
        ):
            self.tslc("build", spec, "--version", version, "-o", str(self.dist))
            archive = str(self.dist / f"support-bot-{version}.mar")
            self.tslc("push", archive, "--sign", f"{self.key}.key")
        archive = str(self.dist / "support-bot-1.0.0.mar")
        self.tslc("rag", "query", archive, support_bot.PRICE, "--top-k", "1")
        self.tslc("rag", "eval", archive, f"{support_bot.SPEC}/qa.jsonl")
        self.tslc("promote", "support-bot", "1.0.0", "--wait", "--reason", "first release")
        bot = support_bot.SupportBot(self.tslc, self.router)
        bot.answer_from_the_documents()
        bot.refuse_the_question()
        print("# 1.1.0 has a model that can't but answer with something unsafe", flush=True)
        self.tslc("promote", "support-bot", "1.1.0", "--wait", "--reason", "an accident")
        bot.cut_the_answer()
        self.tslc("rollback", "support-bot", "--wait", "--reason", "it speaks of bombs")

    @cached_property
    def router(self) -> str:
        """Where clients ask: the URL that `tslc up` prints."""
        done = subprocess.run(
            [TSLC, "up", "--json"], env=self.environment, check=True, capture_output=True
        )
        return str(json.loads(done.stdout)["router"])

    def ask(self, question: str) -> None:
        """As any OpenAI client would, by the model's name alone."""
        print(f"$ curl $ROUTER/v1/chat/completions …  # {question}", flush=True)
        body = {
            "model": "quickstart",
            "messages": [{"role": "user", "content": question}],
            "max_tokens": 40,
            "temperature": 0,
        }
        answer = httpx.post(f"{self.router}/v1/chat/completions", json=body, timeout=120)
        answer.raise_for_status()
        said = answer.json()["choices"][0]["message"]["content"]
        print(f"{answer.headers['x-tslc-version']}: {said}", flush=True)

    def count(self, shares: dict[str, float]) -> None:
        """A thousand users, each with an answer of the model's; the split has to be the one asked
        for, within what chance allows once in a thousand runs."""
        began = time.monotonic()
        # No connection is closed meanwhile: httpx may close one that another thread was just given.
        keep = httpx.Limits(max_keepalive_connections=AT_ONCE, keepalive_expiry=None)
        with (
            ThreadPoolExecutor(AT_ONCE) as pool,
            httpx.Client(timeout=120, limits=keep) as client,
        ):
            found = Counter(pool.map(lambda user: self._version(client, user), range(ANSWERS)))
        for version, share in shares.items():
            low, high = binomial_range(ANSWERS, share)
            print(f"{version}  {found[version]:>4} of {ANSWERS}  (expected {low} to {high})")
            if not low <= found[version] <= high:
                raise SystemExit(f"the split is off: {dict(found)}")
        print(f"{ANSWERS} answers, none failed, {time.monotonic() - began:.0f} s", flush=True)

    def _version(self, client: httpx.Client, user: int) -> str:
        # Drawn by chance, an answer may end before its first word: about one in a thousand did.
        body = {"model": "quickstart", "prompt": f"User {user} says", "temperature": 0}
        body |= {"min_tokens": 2, "max_tokens": 2}
        head = {"x-user-id": f"user-{user}"}
        answer = client.post(f"{self.router}/v1/completions", json=body, headers=head)
        answer.raise_for_status()
        if not answer.json()["choices"][0]["text"]:
            raise SystemExit(f"an empty answer for user {user}")
        return answer.headers["x-tslc-version"]

    def leftovers(self) -> list[str]:
        """Processes that still have a folder of this demo in their environment."""
        found = []
        for process in psutil.process_iter():
            try:
                folders = process.environ().values()
                ours = any(one.startswith(self.environment["TSLC_HOME"]) for one in folders)
                if ours and process.pid != os.getpid():
                    found.append(f"{process.pid} {' '.join(process.cmdline())[:100]}")
            except psutil.Error:
                continue
        return found


def main() -> None:
    started = time.monotonic()
    scratch = Path(tempfile.mkdtemp(prefix="tslc-demo-"))
    demo = Demo(scratch)
    try:
        try:
            demo.run()
        finally:
            demo.step("9. Stop everything")
            demo.tslc("down")
        left = demo.leftovers()
        if left:
            raise SystemExit("left running:\n" + "\n".join(left))
        print(f"nothing left running; the demo took {time.monotonic() - started:.0f} s")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
