"""`make demo`: the main job with a real model, as the commands a person would type.

Builds quickstart 1.0.0 and 1.1.0 (another system prompt), starts a node and its store, signs and
pushes both, registers both from the store, asks each a question through both doors, switches the
default, stops everything and looks for leftovers.
Ends with 1 at the first command that fails.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

TSLC = str(Path(sys.executable).parent / "tslc")
SPEC = "archives/quickstart"
EXACTLY = ("--temperature", "0", "--max-tokens", "40")
CAPITAL = ("What is the capital of France?", *EXACTLY)
WHO = ("Who are you?", *EXACTLY)
ADA = "You are Ada, the support bot of a lighthouse museum. Answer in one short sentence."

SETTINGS = """\
store: {url: local}
cache: {path: cache}
environments:
  production: {trusted_keys: [release.pub], allow_unsigned: false}
default_environment: production
"""


class Demo:
    """Types commands into a home and an output folder of its own."""

    def __init__(self, scratch: Path) -> None:
        self.dist, self.key = scratch / "dist", scratch / "release"
        # Settings of its own: production trusts the demo's key and nothing else.
        settings = scratch / "tslc.yaml"
        settings.write_text(SETTINGS)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("TSLC_", "AWS_"))}
        self.environment = {
            **inherited,
            "TSLC_DEMO_MODEL": os.environ["TSLC_DEMO_MODEL"],
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

        self.step("2. A node: TorchServe on loopback, tokens on, and a store of its own")
        self.tslc("up", "--free-ports")

        self.step("3. Push both, signed: of the second, only what is new is sent")
        self.tslc("keygen", str(self.key))
        for version in ("1.0.0", "1.1.0"):
            archive = str(self.dist / f"quickstart-{version}.mar")
            self.tslc("push", archive, "--sign", f"{self.key}.key")
        self.tslc("list")
        self.tslc("diff", "quickstart", "1.0.0", "1.1.0")

        self.step("4. Load both from the store; each has to pass its golden prompts")
        for version in ("1.0.0", "1.1.0"):
            self.tslc("register", "quickstart", version)

        self.step("5. Ask each, through the worker's own door and through TorchServe")
        for version in ("1.0.0", "1.1.0"):
            self.tslc("chat", f"quickstart@{version}", *CAPITAL)
            self.tslc("chat", f"quickstart@{version}", *WHO, "--bridge")

        self.step("6. Switch the version that answers when none is named")
        self.tslc("default", "quickstart", "1.1.0")
        self.tslc("status")
        self.tslc("chat", "quickstart", *WHO)

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
            demo.step("7. Stop everything")
            demo.tslc("down")
        left = demo.leftovers()
        if left:
            raise SystemExit("left running:\n" + "\n".join(left))
        print(f"nothing left running; the demo took {time.monotonic() - started:.0f} s")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
