"""An archive's folder behind plain uvicorn, as a child of this process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tslc.adapters.clock import wait_until
from tslc.errors import RemoteFailed

_PROBE_SECONDS = 15.0
# Requests in flight get this long when the server is stopped.
_GRACE_SECONDS = 3.0
_DEATH_SECONDS = 5.0


@dataclass(frozen=True)
class LocalServer:
    url: str
    folder: Path
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.process.pid

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def is_ready(self) -> bool:
        """Whether the engine generates; another server at the address is not this one."""
        import httpx

        try:
            # No TLS here, so no certificates to read, which takes longer than the answer.
            with httpx.Client(timeout=_PROBE_SECONDS, trust_env=False, verify=False) as client:  # noqa: S501
                answer = client.get(f"{self.url}/ready")
            about = answer.json()
        except (httpx.HTTPError, ValueError):
            return False
        return answer.is_success and isinstance(about, dict) and about.get("pid") == self.pid

    def said(self) -> tuple[str, ...]:
        """Everything it printed; the archive's files by their path in the archive."""
        try:
            text = self.log.read_text("utf-8", errors="replace")
        except OSError:
            return ()
        return tuple(text.replace(f"{self.folder}/", "").splitlines())


@contextlib.contextmanager
def local_server(
    folder: Path, host: str, port: int, *, url: str, log: Path, env: Mapping[str, str]
) -> Iterator[LocalServer]:
    """Serve the unpacked archive in `folder`; what it prints goes to `log`. Ended on leaving."""
    command = [sys.executable, "-m", "tslc_handlers.serve", "."]
    command += ["--host", host, "--port", str(port), "--end-with-parent"]
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                # Python looks there first: the archive's own handlers serve it.
                cwd=folder,
                env={**env, "PYTHONDONTWRITEBYTECODE": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Out of the terminal's process group: Ctrl-C is for tslc alone.
                start_new_session=True,
            )
    except OSError as error:
        raise RemoteFailed(f"can't start {sys.executable}: {error}") from None
    try:
        yield LocalServer(url, folder, log, process)
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """The server and every process it started: it leads their process group."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
    # What is killed takes its time to go.
    wait_until(lambda: _is_gone(process), _DEATH_SECONDS)


def _is_gone(process: subprocess.Popen[bytes]) -> bool:
    """Whether nothing of the server's process group is left; what is left is killed."""
    process.poll()
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return True
    return False
