"""Looks into a running HotSpot JVM through its own attach protocol, as jcmd does.

The Java runtime from PyPI brings no tools; the protocol is four short strings over a Unix socket.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path


def ask(pid: int, command: str, *arguments: str, seconds: float = 10.0) -> str:
    """Run an attach command (`inspectheap`, `jcmd`, …) in the JVM with process id `pid`."""
    door = Path(f"/proc/{pid}/root/tmp/.java_pid{pid}")
    if not door.exists():
        knock = Path(f"/proc/{pid}/cwd/.attach_pid{pid}")
        knock.touch()
        os.kill(pid, signal.SIGQUIT)
        deadline = time.monotonic() + seconds
        while not door.exists():
            if time.monotonic() > deadline:
                raise TimeoutError(f"JVM {pid} does not open its attach socket")
            os.sched_yield()
        knock.unlink(missing_ok=True)
    words = ["1", command, *arguments, *[""] * (3 - len(arguments))]
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(seconds)
        client.connect(str(door))
        client.sendall("\0".join([*words, ""]).encode())
        parts = []
        while part := client.recv(65536):
            parts.append(part)
    code, _, text = b"".join(parts).decode().partition("\n")
    assert code == "0", text
    return text


def live_objects(pid: int) -> dict[str, tuple[int, int]]:
    """Class name -> (objects, bytes) that a full collection leaves alive."""
    found = {}
    for line in ask(pid, "inspectheap", "-live").splitlines():
        words = line.split()
        if len(words) >= 4 and words[0].endswith(":"):
            found[words[3]] = (int(words[1]), int(words[2]))
    return found


def live_bytes(pid: int) -> int:
    """The heap in use after a full collection, in bytes."""
    return sum(size for _, size in live_objects(pid).values())


REST_JOB = "org.pytorch.serve.job.RestJob"


def kept_jobs(pid: int) -> int:
    """Requests TorchServe's frontend holds on to."""
    return live_objects(pid).get(REST_JOB, (0, 0))[0]
