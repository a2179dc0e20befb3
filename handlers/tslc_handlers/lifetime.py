"""A worker and its engine live and die together.

- The worker leads a process group of its own; a reaper beside it kills that group when the worker
  or TorchServe is gone, however they went (reaper.py).
- When the engine is dead the worker ends itself, so that it can be started again: a worker without
  an engine would answer errors for ever.
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

logger = logging.getLogger(__name__)

_CHECK_SECONDS = 0.5
# Time for the requests in flight to be told that the engine died.
_LAST_WORDS_SECONDS = 1.0


class Reaper:
    """The process that ends this worker's process group; started again if it is killed."""

    def __init__(self, socket: Path, *, end_with_parent: bool) -> None:
        self._socket = socket
        self._end_with_parent = end_with_parent
        if os.getpgid(0) != os.getpid():
            os.setpgid(0, 0)
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        script = Path(__file__).with_name("reaper.py")
        process = subprocess.Popen(
            [
                *(sys.executable, "-I", "-S", str(script)),
                *(str(os.getpid()), str(self._parent()), str(self._socket)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
            close_fds=True,
        )
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"the reaper beside the worker ended with {process.wait()}")
        process.stdout.close()
        return process

    def _parent(self) -> int:
        """0 where the parent's end is not the worker's: a shell, or outside a container."""
        return os.getppid() if self._end_with_parent else 0

    def keep(self) -> None:
        if self._process.poll() is not None:
            logger.warning("the reaper of worker %d was killed; starting another", os.getpid())
            self._process = self._start()


async def watch(engine_is_dead: Callable[[], bool], reaper: Reaper) -> None:
    """Runs as long as the worker; ends the process within 2 s of the engine's death."""
    while True:
        await asyncio.sleep(_CHECK_SECONDS)
        try:
            reaper.keep()
        except (OSError, RuntimeError):
            logger.exception("no reaper beside worker %d; trying again", os.getpid())
        if engine_is_dead():
            logger.error("the engine of worker %d is dead; the worker ends", os.getpid())
            await asyncio.sleep(_LAST_WORDS_SECONDS)
            end_process(1)


def end_process(code: int) -> None:
    """End now: threads of TorchServe's worker loop would keep a polite exit waiting for ever."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
