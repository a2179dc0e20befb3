"""The name of a worker's direct door: `<model>@<version>@<pid>.sock`.

Law: `DoorName.parse(str(name)) == name`. No model and no version may hold an `@`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_SOCKET = re.compile(r"([^@/]+)@([^@/]+)@([1-9][0-9]*)\.sock")


@dataclass(frozen=True, order=True)
class DoorName:
    model: str
    version: str
    pid: int

    def __str__(self) -> str:
        return f"{self.model}@{self.version}@{self.pid}.sock"

    @classmethod
    def parse(cls, name: str) -> DoorName | None:
        """None when the file is not a door's socket."""
        match = _SOCKET.fullmatch(name)
        return cls(match[1], match[2], int(match[3])) if match else None
