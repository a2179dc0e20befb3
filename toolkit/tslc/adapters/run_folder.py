"""The folder of one `tslc run`, and the watchman that tidies up after a run that was killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tslc.adapters import node_folder
from tslc.domain.node import NodePaths, node_paths
from tslc.errors import TslcError

NODE = "run"
# A longer temporary folder leaves no room for the paths of Unix sockets.
_LONGEST_TEMPORARY = 40
# `read` ends when the pipe's other end is closed: when tslc is gone, however it went.
_WATCH = 'read -r _; "$0" -m tslc down --name "$2" >/dev/null 2>&1; rm -rf -- "$1"'


@contextlib.contextmanager
def run_folder() -> Iterator[NodePaths]:
    """The folders of a node of its own, in a temporary folder that is deleted at the end.

    When this process is killed, every process that bears the node's mark is ended and the folder
    deleted by a watchman beside it.
    """
    temporary = tempfile.gettempdir()
    if len(os.fsencode(temporary)) > _LONGEST_TEMPORARY:
        temporary = "/tmp"  # noqa: S108 - mkdtemp makes a folder of this user's own in it
    try:
        root = Path(tempfile.mkdtemp(prefix="tslc-run-", dir=temporary)).resolve()
    except OSError as error:
        raise TslcError(f"can't make a temporary folder in {temporary}: {error}") from None
    paths = node_paths(root, NODE)
    with _watchman(root):
        try:
            node_folder.make_folders(paths)
            yield paths
        finally:
            shutil.rmtree(root, ignore_errors=True)


@contextlib.contextmanager
def _watchman(root: Path) -> Iterator[None]:
    process = subprocess.Popen(
        ["/bin/sh", "-c", _WATCH, sys.executable, str(root), NODE],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={**os.environ, "TSLC_HOME": str(root)},
        # A closed terminal ends tslc, not the one that tidies up after it.
        start_new_session=True,
    )
    try:
        yield
    finally:
        process.kill()
        process.communicate()
