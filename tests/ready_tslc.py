"""`tslc` as processes that need no start: each is a fork of one that has everything imported.

The tests start `tslc` more than a thousand times, and most of what that costs is Python reading
boto3, pydantic and the like again. Whoever sends signals, or looks at the command line or the
environment of the process itself, starts a real one.
"""

from __future__ import annotations

import array
import atexit
import functools
import gc
import importlib
import json
import os
import pkgutil
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_LENGTH = struct.Struct("!I")
_LIBRARIES = (
    "boto3",
    "botocore.config",
    "concurrent.futures.thread",
    "httpx",
    "importlib.metadata",
    "model_signing.signing",
    "psutil",
    "pydantic",
    "s3transfer.manager",
    "xmlrpc.client",
)


def fits(environment: Mapping[str, str]) -> bool:
    """Whether a fork is what a process with this environment would be: the interpreter's own
    variables count only when it starts."""
    own = {name: value for name, value in os.environ.items() if name.startswith("PYTHON")}
    return own == {n: v for n, v in environment.items() if n.startswith("PYTHON")}


def run(
    words: Sequence[str], cwd: Path, environment: Mapping[str, str], seconds: float
) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `tslc WORDS`; raises subprocess.TimeoutExpired.

    As with subprocess.run, it is over when nobody holds stdout or stderr any more.
    """
    asked = json.dumps([list(words), str(cwd), dict(environment)]).encode()
    ends = time.monotonic() + seconds
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(_forker()))
        out, out_end = os.pipe()
        err, err_end = os.pipe()
        files = array.array("i", [out_end, err_end])
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)]
        line.sendmsg([_LENGTH.pack(len(asked))], ancillary)
        os.close(out_end)
        os.close(err_end)
        line.sendall(asked)
        pid = _number(line)
        try:
            said = _read_all((out, err), ends)
            line.settimeout(max(0.1, ends - time.monotonic()))
            code = os.waitstatus_to_exitcode(_number(line))
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(["tslc", *words], seconds) from None
    return code, said[out], said[err]


def _read_all(pipes: Sequence[int], ends: float) -> dict[int, str]:
    """The text of each, and closes them; raises TimeoutError."""
    said = dict.fromkeys(pipes, b"")
    with selectors.DefaultSelector() as waiting:
        for pipe in pipes:
            waiting.register(pipe, selectors.EVENT_READ)
        try:
            while waiting.get_map():
                found = waiting.select(max(0.0, ends - time.monotonic()))
                if not found:
                    raise TimeoutError
                for key, _ in found:
                    piece = os.read(key.fd, 65_536)
                    said[key.fd] += piece
                    if not piece:
                        waiting.unregister(key.fd)
        finally:
            for pipe in pipes:
                os.close(pipe)
    return {pipe: text.decode().replace("\r\n", "\n") for pipe, text in said.items()}


@functools.cache
def _forker() -> Path:
    """The socket of the process that forks, one for each process of the run."""
    folder = Path(tempfile.mkdtemp(prefix="tslc-ready-", dir="/tmp"))
    path = folder / "s"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(64)
    process = subprocess.Popen(
        [sys.executable, __file__, str(listener.fileno()), str(folder)],
        pass_fds=[listener.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    listener.close()

    def end() -> None:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    return path


def _number(line: socket.socket) -> int:
    return int(_LENGTH.unpack(_exactly(line, _LENGTH.size))[0])


def _exactly(line: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        more = line.recv(size - len(found))
        if not more:
            raise EOFError("the process that forks is gone")
        found += more
    return found


# --- the process that forks ----------------------------------------------------------------------


def _serve(listener: socket.socket) -> None:
    """Never returns but in a fork, where `tslc` is to run."""
    _import_everything()
    # What lies here is every fork's: the collector would copy it.
    gc.collect()
    gc.freeze()
    parent = os.getppid()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener.settimeout(1.0)
    while os.getppid() == parent:
        try:
            line, _ = listener.accept()
        except TimeoutError:
            continue
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _carry_out(line)
            return
        line.close()
    # Who started it is gone, and had no time to tidy up.
    shutil.rmtree(sys.argv[2], ignore_errors=True)
    os._exit(0)


def _import_everything() -> None:
    for name in _LIBRARIES:
        importlib.import_module(name)
    tslc = importlib.import_module("tslc")
    for module in pkgutil.walk_packages(tslc.__path__, "tslc."):
        if not module.name.endswith(("__main__", "_program")):
            importlib.import_module(module.name)


def _carry_out(line: socket.socket) -> None:
    """Returns in the process that is `tslc`; the one above it tells how that one ended."""
    line.settimeout(None)
    first, ancillary, _, _ = line.recvmsg(_LENGTH.size, socket.CMSG_SPACE(2 * 4))
    files = array.array("i")
    files.frombytes(ancillary[0][2])
    size = int(_LENGTH.unpack(first + _exactly(line, _LENGTH.size - len(first)))[0])
    words, cwd, environment = json.loads(_exactly(line, size))
    if pid := os.fork():
        for file in files:
            os.close(file)
        line.sendall(_LENGTH.pack(pid))
        _, status = os.waitpid(pid, 0)
        line.sendall(_LENGTH.pack(status))
        os._exit(0)
    line.close()
    for file, number in zip(files, (1, 2), strict=True):
        os.dup2(file, number)
        os.close(file)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    # As `python -m tslc` has them.
    sys.path[0] = cwd
    sys.argv[:] = [str(Path(sys.modules["tslc"].__path__[0], "__main__.py")), *words]


def _end_as_python_does(main: Callable[[], object]) -> None:
    """But for the memory: freeing all that was imported takes longer than most commands."""
    code: object = 0
    try:
        main()
    except SystemExit as stop:
        code = stop.code
    except BaseException:  # noqa: BLE001 - no fork goes on as the one that forks
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else code is not None)


if __name__ == "__main__":
    try:
        _serve(socket.socket(fileno=int(sys.argv[1])))
    except BaseException:  # noqa: BLE001 - no fork goes on as the one that forks
        traceback.print_exc()
        os._exit(70)
    _end_as_python_does(importlib.import_module("tslc.cli.main").main)
