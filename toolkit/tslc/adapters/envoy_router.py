"""A node's running Envoy: it is told by files what to do, and asked on a Unix socket what it took.

Clusters are written before routes that name them. Routes are held back while Envoy does not have
their clusters yet: `state()` says then that they are not taken, and they may be published again.
"""

from __future__ import annotations

import contextlib
import json
import os
from datetime import datetime
from pathlib import Path

from tslc.adapters.clock import wait_until
from tslc.adapters.http_errors import translated
from tslc.adapters.private_files import create_private, write_private
from tslc.domain.node import NodePaths
from tslc.domain.router.files import UpstreamFiles, Wanted, route_file, upstream_files
from tslc.domain.router.model_routes import chains
from tslc.domain.router.seen import STATS, RouterState, read_state
from tslc.domain.router.settings import RouterPaths, RouterSettings
from tslc.domain.router.table import RouterTable
from tslc.errors import NotRunning, RemoteFailed

_TIMEOUT = 2.0
# Envoy takes a file within milliseconds, and asks new workers for their health before that counts.
_TAKE_SECONDS = 2.0
_TAKE_PAUSE = 0.01
_LOG_BYTES = 65_536


class EnvoyRouter:
    """One node's router; one process at a time publishes."""

    def __init__(self, paths: RouterPaths, settings: RouterSettings) -> None:
        self.paths = paths
        self.settings = settings
        import httpx

        transport = httpx.HTTPTransport(uds=str(paths.admin_socket), verify=False)
        self._admin = httpx.Client(transport=transport, base_url="http://admin", timeout=_TIMEOUT)

    @classmethod
    def of(cls, node: NodePaths) -> EnvoyRouter:
        """The router of a node, as it was started; raises NotRunning when it never was."""
        paths = RouterPaths(node.router)
        try:
            text = paths.settings.read_text("utf-8")
        except FileNotFoundError:
            named = "" if node.name == "default" else f" --name {node.name}"
            message = f"node '{node.name}' has no router"
            raise NotRunning(message, hint=f"tslc up{named}") from None
        return cls(paths, RouterSettings.parse(text, str(paths.settings)))

    @property
    def address(self) -> str:
        """The URL clients ask."""
        return self.settings.address

    # --- publish -----------------------------------------------------------------------------

    def publish_upstreams(self, table: RouterTable) -> None:
        """Give Envoy the table's upstreams; its routes stay.

        Upstreams that routes in force lead to have to be among them.
        """
        wanted = self._wanted()
        chained = tuple({*wanted.needed, *chains(table)})
        files = upstream_files(table.upstreams, chained, self.paths, self.settings)
        self._write_upstreams(wanted, files)
        self._remove_stale(files)

    def publish_routes(self, table: RouterTable) -> bool:
        """Give Envoy the table's routes, whose upstreams it has; whether they were written.

        They are not while Envoy has not taken every cluster they lead to.
        """
        file = route_file(table, self.settings)
        wanted = self._wanted().with_routes(file.routes.version, chains(table))
        upstreams = upstream_files(table.upstreams, wanted.needed, self.paths, self.settings)
        self._write_upstreams(wanted, upstreams)
        if not self._have(upstreams.clusters.version, file.named):
            return False
        self._write(self.paths.routes, file.routes.content)
        return True

    def _have(self, version: str, clusters: frozenset[str]) -> bool:
        """An Envoy that does not answer starts, and will read the clusters first."""

        def has() -> bool:
            state = self.state()
            taken = state.clusters_version == version and state.has_clusters(clusters)
            return taken or not state.reachable

        return wait_until(has, _TAKE_SECONDS, _TAKE_PAUSE)

    def _write_upstreams(self, wanted: Wanted, files: UpstreamFiles) -> None:
        """What is wanted is written down first: whatever happens then, it is not taken as done."""
        self._write(self.paths.wanted, wanted.with_upstreams(files).render())
        for cluster, one in files.endpoints.items():
            self._write(self.paths.endpoints_of(cluster), one.content)
        self._write(self.paths.clusters, files.clusters.content)

    def _remove_stale(self, files: UpstreamFiles) -> None:
        kept = {self.paths.endpoints_of(cluster) for cluster in files.endpoints}
        for path in self.paths.endpoints.glob("*.json"):
            if path not in kept:
                path.unlink(missing_ok=True)

    def _write(self, path: Path, content: str) -> None:
        if _read(path) != content:
            write_private(path, content)

    def _wanted(self) -> Wanted:
        """What is wanted so far, less what only routes before it needed."""
        state = self.state()
        return state.wanted.settled(taken=state.routes_taken)

    # --- ask ---------------------------------------------------------------------------------

    def state(self) -> RouterState:
        """What Envoy has now; never raises: an Envoy that does not answer is a state, too."""
        wanted = Wanted.parse(_read(self.paths.wanted) or "")
        try:
            stats = self._stats()
        except RemoteFailed as error:
            return RouterState(wanted=wanted, unreachable_because=error.message)
        return read_state(stats, wanted, self._log_tail(), self._published())

    def _stats(self) -> dict[str, int | str]:
        with translated("the router's Envoy"):
            reply = self._admin.get("/stats", params={"format": "json", "filter": STATS})
            reply.raise_for_status()
        found = json.loads(reply.content).get("stats", [])
        return {one["name"]: one["value"] for one in found if "name" in one}

    def _published(self) -> datetime | None:
        """When something was published last, in the log's own time; Envoy sees it after that."""
        try:
            at = max(
                path.stat().st_mtime
                for path in (self.paths.clusters, self.paths.routes, self.paths.wanted)
            )
        except FileNotFoundError:
            return None
        return datetime.fromtimestamp(int(at))

    def _log_tail(self) -> list[str]:
        try:
            with self.paths.log.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _LOG_BYTES))
                return file.read().decode("utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []

    # --- its logs ----------------------------------------------------------------------------

    def rotate_access_log(self, largest: int) -> bool:
        """Begin a new one when it is larger than `largest` bytes; the one before is kept."""
        log = self.paths.access_log
        with contextlib.suppress(FileNotFoundError):
            if log.stat().st_size <= largest:
                return False
        log.replace(log.with_name(f"{log.name}.1"))
        create_private(log, b"")
        with translated("the router's Envoy"):
            self._admin.post("/reopen_logs").raise_for_status()
        return True


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return None
