"""What a node's router is to do, as values: upstreams, routes, keys.

Nothing here knows Envoy, files or processes. Weights are hundredths of a percent; those of a
model's segments sum to WHOLE, or there are none and the model answers 503.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

WHOLE = 10_000
# What pydantic is told about values of this module; itself it is imported where it reads them.
_STRICT = {"extra": "forbid"}


@dataclass(frozen=True, order=True)
class UpstreamName:
    """One version of one model, as the router knows it."""

    model: str
    version: str


@dataclass(frozen=True)
class Upstream:
    """Where a version answers: the sockets of its workers' direct doors that may get requests.

    `bridge`: an archive that is not ours has no door; it answers through TorchServe's frontend, at
    /predictions/<model>/<version>, and `doors` is empty.
    """

    name: UpstreamName
    doors: tuple[Path, ...] = ()
    bridge: bool = False


@dataclass(frozen=True)
class Segment:
    """A piece of the hash ring: `weight` hundredths of a percent that go to `version`.

    A version may have several: that is how a user stays where he is when shares change.
    """

    version: str
    weight: int


class StickyBy(StrEnum):
    HEADER = "header"
    COOKIE = "cookie"


@dataclass(frozen=True)
class Sticky:
    """By what a user is told from another; `parse_sticky` reads what `str` writes."""

    by: StickyBy
    name: str

    def __str__(self) -> str:
        return f"{self.by}:{self.name}"


@dataclass(frozen=True)
class Shadow:
    """`share` hundredths of a percent of the requests are copied to `version`."""

    version: str
    share: int


@dataclass(frozen=True)
class ModelRoute:
    """How the requests for one model are divided.

    `ready`: versions that can answer, and may be asked for by header. `spare`: those of them where
    a request goes, in this order, when the one it was meant for fails before it answered. `names`:
    other words that mean this model in a request body. `bridge`: an archive that is not ours, which
    is asked at /predictions/<model> and speaks no OpenAI.
    """

    model: str
    segments: tuple[Segment, ...]
    ready: tuple[str, ...]
    spare: tuple[str, ...] = ()
    sticky: Sticky | None = None
    shadow: Shadow | None = None
    names: tuple[str, ...] = ()
    bridge: bool = False


@dataclass(frozen=True)
class ApiKey:
    """Who may ask. `sha256`: 64 hex digits, of the whole key; the key itself is nowhere.
    `per_minute` None: as often as he likes."""

    __pydantic_config__ = _STRICT

    name: str
    sha256: str
    per_minute: int | None = None


@dataclass(frozen=True)
class RouterTable:
    """All of it. `pinning`: a version may be asked for by the header `x-tslc-version`.

    `keys` empty: nobody is asked for one. `bridge_key`: TorchServe's inference key, for upstreams
    behind the bridge; it goes into a private file and nowhere else.
    """

    models: tuple[ModelRoute, ...] = ()
    upstreams: tuple[Upstream, ...] = ()
    keys: tuple[ApiKey, ...] = ()
    pinning: bool = False
    bridge_key: str | None = None

    @property
    def routes(self) -> RouterTable:
        """The table without its upstreams."""
        return replace(self, upstreams=())
