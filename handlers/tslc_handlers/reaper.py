"""Ends what a worker leaves behind, whatever ended the worker.

Run as a script beside the worker, in a session of its own, without this package:

    python -I -S reaper.py WORKER_PID PARENT_PID SOCKET

It sleeps until the worker or the worker's parent (TorchServe) is gone, then kills the worker's
process group: vLLM's engine processes, which would otherwise live on and hold the card's memory.
It listens to the kernel (pidfd), so nothing a process does or fails to do on its way out matters.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys


def open_process(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def main() -> None:
    worker, parent, socket = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    descriptors = [open_process(worker), open_process(parent)]
    alive = [fd for fd in descriptors if fd is not None]
    if len(alive) == len(descriptors):
        poll = select.poll()
        for fd in alive:
            poll.register(fd, select.POLLIN)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdout.close()
        poll.poll()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker, signal.SIGKILL)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(socket)  # noqa: PTH108 - importing pathlib would make this process larger


if __name__ == "__main__":
    main()
