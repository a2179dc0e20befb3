"""What a node's router is started with, and where its files lie.

Decides the defaults that suit streams of tokens: nothing limits how long an answer takes, only how
long it may be silent.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from tslc.domain.state_file import parse_state

MIB = 1024 * 1024


class RouterSettings(BaseModel):
    """What settings.json holds: fixed while the router runs. The salt is in no repr.

    `max_requests` at once to one version, `shadow_requests` to one that is only shadowed;
    `header_seconds` and `body_seconds` a client may take to send them; `bridge_port`: TorchServe's
    inference port, for archives that are not ours; `open_to_all`: it may serve others than this
    machine without API keys; `threads` answer requests. The certificate and
    its key are reloaded when they are replaced (renamed over, or their folder is switched).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    port: int = Field(ge=1, le=65535)
    host: str = "127.0.0.1"
    certificate: Path | None = None
    certificate_key: Path | None = None
    hash_salt: str = Field(min_length=16, repr=False)
    bridge_port: int | None = None
    open_to_all: bool = False
    node: str = "tslc"
    max_body_bytes: int = 32 * MIB
    idle_seconds: int = 600
    header_seconds: int = 15
    body_seconds: int = 300
    max_connections: int = 8192
    max_requests: int = 4096
    shadow_requests: int = 16
    threads: int = 2

    @property
    def needs_keys(self) -> bool:
        """Whether nobody is to be let in while there is no API key."""
        here = self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        return not here and not self.open_to_all

    @property
    def address(self) -> str:
        """The URL clients ask."""
        scheme = "https" if self.certificate else "http"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}"

    def render(self) -> str:
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def parse(cls, text: str, subject: str) -> RouterSettings:
        """Raises BadFile."""
        return parse_state(cls, text, subject, "tslc down   # then tslc up: it is written anew")


@dataclass(frozen=True)
class RouterPaths:
    """What lies in the router's folder, which is its owner's alone."""

    root: Path

    @property
    def settings(self) -> Path:
        return self.root / "settings.json"

    @property
    def bootstrap(self) -> Path:
        return self.root / "bootstrap.json"

    @property
    def listener(self) -> Path:
        return self.root / "listener.json"

    @property
    def certificate(self) -> Path:
        """Which certificate is shown; it holds the files' names, not the key."""
        return self.root / "certificate.json"

    @property
    def clusters(self) -> Path:
        return self.root / "clusters.json"

    @property
    def endpoints(self) -> Path:
        """The folder of one file for each version's cluster."""
        return self.root / "endpoints"

    def endpoints_of(self, cluster: str) -> Path:
        return self.endpoints / f"{cluster}.json"

    @property
    def routes(self) -> Path:
        return self.root / "routes.json"

    @property
    def wanted(self) -> Path:
        """What was to be published last; the files follow it."""
        return self.root / "wanted.json"

    @property
    def admin_socket(self) -> Path:
        return self.root / "admin.sock"

    @property
    def access_log(self) -> Path:
        return self.root / "access.log"

    @property
    def log(self) -> Path:
        """Envoy's own."""
        return self.root / "envoy.log"
