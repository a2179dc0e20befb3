"""What an agent must not forget when it is killed: a private file in the node's folder.

Everything else it sees. `proven`: doors (and workers without one) that passed their golden prompts,
with the start time of their process; `managed`: versions the agent put into TorchServe; `table`:
what the router was given last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING

from tslc.domain.router.table import RouterTable, UpstreamName

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_STRICT = {"extra": "forbid"}


@dataclass(frozen=True)
class AgentRecord:
    """`proven`: by `<model>@<version>@<pid>`, seconds since the epoch."""

    __pydantic_config__ = _STRICT

    proven: Mapping[str, float] = field(default_factory=dict)
    managed: tuple[UpstreamName, ...] = ()
    table: RouterTable = field(default_factory=RouterTable)

    def render(self) -> bytes:
        return _schema().dump_json(self, indent=1)

    @classmethod
    def parse(cls, content: bytes) -> AgentRecord | None:
        """None for what this version of tslc did not write: it is seen anew."""
        try:
            return _schema().validate_json(content)
        except ValueError:
            return None

    def with_proven(self, workers: Mapping[str, float]) -> AgentRecord:
        return replace(self, proven={**self.proven, **workers})

    def with_managed(self, name: UpstreamName) -> AgentRecord:
        return replace(self, managed=tuple(sorted({*self.managed, name})))

    def without(self, name: UpstreamName) -> AgentRecord:
        """Once a version is unloaded."""
        gone = f"{name.model}@{name.version}@"
        proven = {key: at for key, at in self.proven.items() if not key.startswith(gone)}
        managed = tuple(one for one in self.managed if one != name)
        return replace(self, proven=proven, managed=managed)


@cache
def _schema() -> TypeAdapter[AgentRecord]:
    from pydantic import TypeAdapter

    return TypeAdapter(AgentRecord)


def worker_key(name: UpstreamName, pid: int) -> str:
    return f"{name.model}@{name.version}@{pid}"
