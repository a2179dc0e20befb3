"""The store a local node carries with it: how its SeaweedFS is run.

Decides that everything listens on 127.0.0.1 alone and that nothing of it answers without a
credential made for it: the S3 gateway asks for its access key, the volume server for tokens, the
gRPC ports of all parts for a certificate, and the filer's web pages are off. What the master tells
about itself (which ports and volumes there are) is open to other users of the machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from tslc.domain.state_file import parse_state

BUCKET = "tslc"
REGION = "us-east-1"
# By this variable in a process's environment the store's processes are found.
MARK = "TSLC_LOCAL_STORE"
_VOLUME_MIB = 1024
# The Go runtime collects harder above this; it is no limit.
_MEMORY = "384MiB"
_PARTS = ("master", "volume", "filer", "s3", "client", "admin", "worker")


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


class StorePorts(_Value):
    """The TCP ports of a store, all on 127.0.0.1."""

    s3: int
    s3_grpc: int
    master: int
    master_grpc: int
    volume: int
    volume_grpc: int
    filer: int
    filer_grpc: int


class StoreState(_Value):
    """What store.json holds. `pid` and `created` as in NodeState; the secret is in no repr."""

    version: Literal[1] = 1
    ports: StorePorts
    access_key: str = Field(min_length=8)
    secret_key: str = Field(min_length=16, repr=False)
    pid: int | None = None
    created: float | None = None

    def render(self) -> str:
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def parse(cls, text: str, subject: str) -> StoreState:
        """Raises BadFile."""
        fix = "delete the file: `tslc up` makes a new one, what is stored stays"
        return parse_state(cls, text, subject, fix)


@dataclass(frozen=True)
class StoreEndpoint:
    """Where a client finds the local store, and with which credential."""

    endpoint_url: str
    access_key: str
    secret_key: str = field(repr=False)
    bucket: str = BUCKET
    region: str = REGION

    @classmethod
    def of(cls, state: StoreState) -> StoreEndpoint:
        url = f"http://127.0.0.1:{state.ports.s3}"
        return cls(url, state.access_key, state.secret_key)


@dataclass(frozen=True)
class StorePaths:
    """What lies in the store's folder; SeaweedFS runs with `root` as its current folder."""

    root: Path

    @property
    def state(self) -> Path:
        return self.root / "store.json"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def console(self) -> Path:
        return self.logs / "console.log"

    @property
    def identities(self) -> Path:
        return self.root / "identities.json"

    @property
    def security(self) -> Path:
        return self.root / "security.toml"

    @property
    def certificate(self) -> Path:
        return self.root / "tls.pem"

    @property
    def certificate_key(self) -> Path:
        return self.root / "tls.key"


def server_command(weed: Path, state: StoreState, paths: StorePaths) -> list[str]:
    """The command line of the server; no secret is in it."""
    ports = state.ports
    return [
        str(weed),
        f"-logdir={paths.logs}",
        "-log_max_files=2",
        "-log_max_size_mb=5",
        "-alsologtostderr=false",
        "server",
        f"-dir={paths.data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-master.port={ports.master}",
        f"-master.port.grpc={ports.master_grpc}",
        "-master.telemetry=false",
        # One master by itself: no election to wait for.
        "-master.peers=none",
        f"-master.volumeSizeLimitMB={_VOLUME_MIB}",
        f"-volume.port={ports.volume}",
        f"-volume.port.grpc={ports.volume_grpc}",
        # As many as the disk has room for.
        "-volume.max=0",
        "-volume.preStopSeconds=0",
        f"-filer.port={ports.filer}",
        f"-filer.port.grpc={ports.filer_grpc}",
        "-filer.disableHttp",
        "-s3",
        f"-s3.port={ports.s3}",
        f"-s3.port.grpc={ports.s3_grpc}",
        f"-s3.config={paths.identities}",
        "-s3.iam=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
    ]


def server_environment(env: Mapping[str, str], paths: StorePaths) -> dict[str, str]:
    """Nothing of ours but PATH: SeaweedFS would take AWS_* for an account of its own, WEED_* for
    settings, and settings from the home folder."""
    return {
        "PATH": env.get("PATH", ""),
        "HOME": str(paths.root),
        "GOMEMLIMIT": _MEMORY,
        MARK: str(paths.root),
    }


def render_identities(state: StoreState) -> str:
    """The one account of the S3 gateway; without any it would let everybody in."""
    keys = {"accessKey": state.access_key, "secretKey": state.secret_key}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    account = {"name": "tslc", "credentials": [keys], "actions": actions}
    return json.dumps({"identities": [account]}, indent=2) + "\n"


def render_security(paths: StorePaths, tokens: tuple[str, str, str, str]) -> str:
    """security.toml: signed tokens on HTTP, one certificate for all parts on gRPC."""
    sections = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
    lines = ["[access]", "ui = false", "[filer.expose_directory_metadata]", "enabled = false"]
    for section, token in zip(sections, tokens, strict=True):
        lines += [f"[{section}]", f"key = {json.dumps(token)}"]
    certificate = json.dumps(str(paths.certificate))
    lines += ["[grpc]", f"ca = {certificate}"]
    for part in _PARTS:
        key = json.dumps(str(paths.certificate_key))
        lines += [f"[grpc.{part}]", f"cert = {certificate}", f"key = {key}"]
    return "\n".join(lines) + "\n"


def sockets(ports: StorePorts) -> tuple[Path, ...]:
    """The Unix sockets SeaweedFS makes, wherever it is told to keep its files; its owner's only."""
    grpc = {
        "master": ports.master_grpc,
        "volume": ports.volume_grpc,
        "filer": ports.filer_grpc,
        "s3": ports.s3_grpc,
    }
    names = [f"seaweedfs-{part}-grpc-{port}.sock" for part, port in grpc.items()]
    names += [f"seaweedfs-filer-{ports.filer}.sock", f"seaweedfs-s3-{ports.s3}.sock"]
    return tuple(Path("/tmp", name) for name in names)  # noqa: S108 (SeaweedFS's own choice)
