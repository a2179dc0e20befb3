"""Whether the ports of a node are free, or held by the node itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tslc.domain.doctor.finding import Finding, fault, ok


@dataclass(frozen=True)
class PortSeen:
    """`flag`: the flag of `tslc up` that sets it. `holder`: such as `java (pid 7)`, None when the
    port is free; `own`: it is the node's."""

    flag: str
    port: int
    holder: str | None = None
    own: bool = False


def judge_ports(ports: Sequence[PortSeen], *, up: bool, name: str) -> Finding:
    strange = [one for one in ports if one.holder is not None and not one.own]
    if strange:
        said = "; ".join(f"{one.flag} {one.port} is held by {one.holder}" for one in strange)
        named = "" if name == "default" else f" --name {name}"
        others = " ".join(f"{one.flag} N" for one in strange)
        again = f"tslc down{named} && " if up else ""
        return fault(said, f"{again}tslc up{named} --free-ports   # or name others: {others}")
    listed = ", ".join(str(one.port) for one in ports)
    return ok(f"{listed}: {'held by nobody else' if up else 'all free'}")
