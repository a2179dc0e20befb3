"""`python -m tslc_handlers.serve`: an archive's folder served by the archive's own code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tslc.adapters.archive_file import open_archive, unpack
from tslc.adapters.clock import wait_until

pytestmark = pytest.mark.integration

# Says which copy of tslc_handlers is imported.
_MARK = """
import os, sys
sys.stderr.write("own code of " + os.path.dirname(__file__) + chr(10))
"""


@pytest.fixture
def content(archives, tmp_path: Path) -> Path:
    folder = tmp_path / "content"
    unpack(open_archive(archives.build("alone")), folder)
    with (folder / "tslc_handlers" / "__init__.py").open("a") as file:
        file.write(_MARK)
    return folder


@pytest.mark.parametrize("inside", [False, True])
def test_an_archive_is_served_by_its_own_copy_of_the_handlers(
    content: Path, tmp_path: Path, inside: bool
) -> None:
    log, socket = tmp_path / "log", tmp_path / "door"
    folder = Path() if inside else content
    command = [sys.executable, "-m", "tslc_handlers.serve", str(folder), "--uds", str(socket)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=content if inside else tmp_path,
            env=os.environ,
            stdout=output,
            stderr=output,
        )
    transport = httpx.HTTPTransport(uds=str(socket))
    try:
        assert wait_until(lambda: socket.exists() or process.poll() is not None, 30), (
            log.read_text()
        )
        with httpx.Client(transport=transport, base_url="http://door", timeout=30) as client:
            assert client.get("/ready").json()["pid"] == process.pid
    finally:
        process.terminate()
        process.wait(15)
    assert f"own code of {content / 'tslc_handlers'}" in log.read_text()
