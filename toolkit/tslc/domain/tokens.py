"""TorchServe's keys as it writes them into key_file.json, and when one has to be renewed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

# A key this close to its end is renewed before it is used.
_MARGIN = timedelta(seconds=2)


class KeyKind(StrEnum):
    INFERENCE = "inference"
    MANAGEMENT = "management"


@dataclass(frozen=True)
class Key:
    text: str
    expires: datetime

    def expired(self, now: datetime) -> bool:
        return now >= self.expires - _MARGIN


@dataclass(frozen=True)
class Keys:
    """`renewal` is the key that renews the others; it has no end."""

    inference: Key
    management: Key
    renewal: str

    def of(self, kind: KeyKind) -> Key:
        return self.inference if kind is KeyKind.INFERENCE else self.management

    @classmethod
    def parse(cls, text: str) -> Keys | None:
        """None for a file that is half written: TorchServe overwrites it in place."""
        try:
            document = json.loads(text)
            inference, management = (
                Key(str(document[kind]["key"]), datetime.fromisoformat(document[kind][_END]))
                for kind in (KeyKind.INFERENCE, KeyKind.MANAGEMENT)
            )
            return cls(inference, management, str(document["API"]["key"]))
        except (ValueError, KeyError, TypeError):
            return None


_END = "expiration time"
