"""Images and containers without a Docker engine: what docker/try-image needs of buildah.

A container has the machine's network and process numbers, which Docker's has not.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

WORK = Path(os.environ.get("WORK", "/var/tmp/tslc-image"))
DATA = WORK / "data"
_STORAGE = ("--root", f"{WORK}/storage", "--runroot", f"{WORK}/run", "--storage-driver", "vfs")
_ENV = {**os.environ, "TMPDIR": f"{WORK}/tmp", "BUILDAH_ISOLATION": "chroot"}
_NOT_THE_ROOT = ("data", "tmp", "proc", "sys", "dev")
# What buildah mounts its own over.
_BUILDAHS = ("etc/hostname", "etc/hosts", "etc/resolv.conf", "run/.containerenv")
_LOOK_SECONDS = 5.0
_STOP_SECONDS = 90.0


def buildah(*words: object, **how: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(["buildah", *_STORAGE, *map(str, words)], env=_ENV, text=True, **how)


def said(*words: object) -> str:
    """What buildah prints. Raises CalledProcessError."""
    process = buildah(*words, stdout=subprocess.PIPE)
    text, _ = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, [*map(str, words)])
    return text.strip()


class Container:
    """One of `image`, which keeps what it writes; its volume is DATA."""

    def __init__(self, image: str) -> None:
        config = json.loads(said("inspect", "--type", "image", image))["Docker"]["config"]
        self.entry: list[str] = config["Entrypoint"]
        self.health: list[str] = config["Healthcheck"]["Test"][1:]
        self.name = said("from", image)
        # The volume that the image declares would hide DATA.
        said("config", "--volume", f"{config['WorkingDir']}-", self.name)
        self.root = Path(said("mount", self.name))
        self._began = time.time()

    def start(self, *words: str, program: Sequence[str] = (), **how: Any) -> subprocess.Popen[str]:
        """As `docker run`; with a program as `docker exec`."""
        of_it = ("run", "--volume", f"{DATA}:/data", self.name, "--")
        return buildah(*of_it, *(program or self.entry), *words, **how)

    def run(self, *words: str, program: Sequence[str] = (), code: int = 0) -> None:
        """Shows what it prints, and wants it to end with that exit code."""
        print(f"$ {shlex.join(words)}", flush=True)
        process = self.start(*words, program=program, stdout=-1, stderr=subprocess.STDOUT)
        text, _ = process.communicate()
        print(text, f"[{process.returncode}]", sep="", flush=True)
        if process.returncode != code:
            raise SystemExit(f"it ended with {process.returncode}, not {code}")

    def wait_well(self, seconds: float) -> None:
        """Until its health check says so."""
        until = time.monotonic() + seconds
        while self.start(program=self.health, stdout=subprocess.DEVNULL).wait():
            if time.monotonic() > until:
                raise SystemExit(f"it is not healthy after {seconds:g} s")
            time.sleep(_LOOK_SECONDS)
        self.run(program=self.health)

    def pids(self) -> list[int]:
        """Its processes: those whose root is its own, at whatever path that is mounted."""
        root = self.root.stat()
        found = []
        for one in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if one.name.isdigit() and os.path.samestat((one / "root").stat(), root):
                    found.append(int(one.name))
        return found

    def stop(self, running: subprocess.Popen[str]) -> None:
        """As `docker stop`: the signal is for the first process. Nothing may be left."""
        first = shlex.join(self.entry)
        for pid in self.pids():
            with contextlib.suppress(OSError):  # a health check that ended meanwhile
                words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
                if shlex.join(words).startswith(first):
                    os.kill(pid, signal.SIGTERM)
        began = time.monotonic()
        code, left = running.wait(_STOP_SECONDS), self.pids()
        print(f"stopped with {code} in {time.monotonic() - began:.0f} s", flush=True)
        if code or left:
            raise SystemExit(f"these are left: {left}" if left else f"it ended with {code}")

    def written(self) -> list[str]:
        """Files it wrote where a read-only root has none."""
        places = [str(one) for one in self.root.iterdir() if one.name not in _NOT_THE_ROOT]
        find = ["find", *places, "-type", "f", "-newermt", f"@{self._began}"]
        done = subprocess.run(find, capture_output=True, text=True, check=True)
        found = {str(Path(line).relative_to(self.root)) for line in done.stdout.splitlines()}
        return sorted(found.difference(_BUILDAHS))

    def remove(self) -> None:
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        said("rm", self.name)
