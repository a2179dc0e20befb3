"""A `tslc run` in the background, and everything it started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil

from nodes import eventually


@dataclass
class Running:
    """A `tslc run --json`, started; `out` and `err` hold what it prints."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    @cached_property
    def told(self) -> Any:
        """What it said when it was ready; raises when it ends before."""
        assert eventually(lambda: self.process.poll() is not None or self._is_told(), 240)
        assert self.process.poll() is None, self.err.read_text()
        return json.loads(self.out.read_text())

    def _is_told(self) -> bool:
        return self.out.read_text().endswith("}\n")

    @property
    def url(self) -> str:
        return str(self.told["url"])

    def folder(self) -> Path:
        """The folder that bears all of the run."""
        return Path(psutil.Process(self.told["pid"]).environ()["TSLC_RUN_DIR"]).parents[2]

    def family(self) -> list[psutil.Process]:
        """tslc, its children, and all that bear the run's mark."""
        own = psutil.Process(self.process.pid)
        found = {one.pid: one for one in (own, *own.children(recursive=True))}
        mark = str(self.folder())
        for one in psutil.process_iter():
            try:
                if one.environ().get("TSLC_RUN_DIR", "").startswith(mark):
                    found[one.pid] = one
            except psutil.Error:
                continue
        return list(found.values())

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, seconds: float) -> int:
        """Its exit code, which it has to have in time."""
        return self.process.wait(seconds)


@contextmanager
def running(
    *words: object, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Iterator[Running]:
    """`tslc run WORDS --json`, interrupted in the end if it still runs."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "tslc", "run", *map(str, words), "--json"],
                stdout=stdout,
                stderr=stderr,
                cwd=cwd,
                env={**os.environ, **(env or {})},
            )
        try:
            yield Running(process, out, err)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(60)
