"""Ends what a worker leaves behind, whatever ended the worker.

Run as a script beside the worker, in a session of its own, without this package:

    python -I -S reaper.py WORKER_PID PARENT_PID SOCKET

It sleeps until the worker or the worker's parent (TorchServe; 0 for none) is gone, then kills the
worker's process group: vLLM's engine processes, which would otherwise live on and hold the card's
memory. Python's resource tracker among them is left to end by itself: it removes the shared memory
the killed ones can't.
It listens to the kernel (pidfd), so nothing a process does or fails to do on its way out matters.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time


def open_process(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def members(group: int) -> list[int]:
    """The processes of a group, but for resource trackers and what is dead already."""
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - importing pathlib would make this larger
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError):
            with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                state, _, pgrp = file.read().rpartition(b")")[2].split()[:3]
            with open(f"/proc/{name}/cmdline", "rb") as file:  # noqa: PTH123
                tracker = b"resource_tracker" in file.read()
            if int(pgrp) == group and state not in (b"Z", b"X") and not tracker:
                found.append(int(name))
    return found


def end_group(group: int) -> None:
    """Kill until nobody is left, then the tracker too, should it not have ended in 3 s."""
    while pids := members(group):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    deadline = time.monotonic() + 3
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(group, 0)
            time.sleep(0.05)
        os.killpg(group, signal.SIGKILL)


def main() -> None:
    worker, parent, socket = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    descriptors = [open_process(pid) for pid in (worker, parent) if pid]
    alive = [fd for fd in descriptors if fd is not None]
    if len(alive) == len(descriptors):
        poll = select.poll()
        for fd in alive:
            poll.register(fd, select.POLLIN)
        # A worker that died this very moment reads it no more.
        with contextlib.suppress(BrokenPipeError):
            os.write(1, b"ready\n")
        os.close(1)
        poll.poll()
    end_group(worker)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(socket)  # noqa: PTH108 - importing pathlib would make this process larger


if __name__ == "__main__":
    main()
