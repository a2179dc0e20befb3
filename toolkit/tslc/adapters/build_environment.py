"""Where a version is pushed from: the machine, the checkout, the tools that are installed."""

from __future__ import annotations

import getpass
import importlib.metadata
import platform
import socket
import subprocess
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

import tslc
from tslc.domain.provenance import TOOLS, Provenance, builder_name, git_of, printable, timestamp

_SECONDS = 20


def provenance(folder: Path, environment: Mapping[str, str], now: datetime) -> Provenance:
    """`folder`: the one that the version's sources lie in, a git checkout or not."""
    commit = _git(folder, "rev-parse", "HEAD")
    dirty = commit is not None and _git(folder, "status", "--porcelain") != ""
    versions = {tool: _version(names) for tool, names in TOOLS.items()}
    return Provenance(
        created=timestamp(now),
        builder=builder_name(environment, _user()),
        host=socket.gethostname(),
        git=git_of(commit, dirty, environment),
        tslc=tslc.__version__,
        python=platform.python_version(),
        **versions,
    )


def who(environment: Mapping[str, str]) -> str:
    """Whoever acts here and now: a person or a job, and the machine."""
    return printable(f"{builder_name(environment, _user())} on {socket.gethostname()}")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def _git(folder: Path, *words: str) -> str | None:
    command = ["git", "-C", str(folder), *words]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(names: Iterable[str]) -> str | None:
    for name in names:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None
