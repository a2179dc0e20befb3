"""The agent's files in a node's folder: its record, and the last desired state it saw."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from tslc.adapters.private_files import write_private
from tslc.domain.node import NodePaths
from tslc.domain.release.record import AgentRecord
from tslc.domain.release.state import EnvironmentState
from tslc.errors import BadFile, Refused

_RECORD, _STATE, _LOCK, _REPORT = "record.json", "desired.json", "lock", "report.json"


class AgentFolder:
    """Only the agent itself writes here; its files are private: the record names sockets."""

    def __init__(self, paths: NodePaths) -> None:
        self.root = paths.agent
        self._node = paths.name

    @contextlib.contextmanager
    def owned(self) -> Iterator[None]:
        """One agent of a node at a time; the lock dies with its process. Raises Refused."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.root / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = f"node '{self._node}' has an agent already"
                raise Refused(message, hint="tslc status   # tells its pid") from None
            yield
        finally:
            os.close(descriptor)

    def read_record(self) -> AgentRecord:
        """An empty one where there is none, or none that can be read."""
        content = _read(self.root / _RECORD)
        return (AgentRecord.parse(content) if content else None) or AgentRecord()

    def write_record(self, record: AgentRecord) -> None:
        write_private(self.root / _RECORD, record.render())

    def read_desired(self, environment: str) -> EnvironmentState | None:
        """The last state seen of that environment; None when none was."""
        content = _read(self.root / _STATE)
        if content is None:
            return None
        try:
            state = EnvironmentState.parse(content, str(self.root / _STATE))
        except (BadFile, Refused):
            return None
        return state if state.environment == environment else None

    def write_desired(self, state: EnvironmentState) -> None:
        write_private(self.root / _STATE, state.render())

    def write_report(self, content: bytes) -> None:
        """What was told to the store last, or would have been: `tslc status` reads it."""
        write_private(self.root / _REPORT, content)

    def read_report(self) -> bytes | None:
        return _read(self.root / _REPORT)

    def report_written(self) -> float | None:
        """When that was, in seconds since the epoch; None when nothing was told yet."""
        try:
            return (self.root / _REPORT).stat().st_mtime
        except OSError:
            return None


class KeptRecord:
    """The agent's record as it is in memory and, always, in its file."""

    def __init__(self, folder: AgentFolder) -> None:
        self._folder = folder
        self.record = folder.read_record()

    def keep(self, record: AgentRecord) -> None:
        if record != self.record:
            self.record = record
            self._folder.write_record(record)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
