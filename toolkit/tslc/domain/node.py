"""What a local node is: its name, its ports, its folders, and what it remembers of itself.

Decides which settings make a node that can run (ports that differ, names that are safe in paths,
folders short enough for Unix sockets). It neither looks at ports nor touches a folder.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from tslc.domain.door import DoorName
from tslc.domain.state_file import parse_state
from tslc.errors import BadFile, BadInput, Mistake

DEFAULT_NODE = "default"
# By this variable a node finds its processes. Nobody else has a reason to set it, unlike the
# folders a router or a person may name by TSLC_RUN_DIR.
NODE_MARK = "TSLC_NODE_MARK"
# sockaddr_un.sun_path of Linux holds 108 bytes, the last one a zero.
MAX_SOCKET_PATH = 107
# vLLM and ZeroMQ put sockets named by a UUID into the temporary folder.
_TEMPORARY_SOCKET = 36
# supervisord makes its socket under a name with its pid, then links it to control.sock.
_CONTROL_SOCKET = len("control.sock.4194304")
_LARGEST_PID = 4_194_304
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
# For pydantic, when node.json is read.
_STRICT = {"extra": "forbid", "strict": True}
_HEAP = re.compile(r"[1-9][0-9]*[kmgKMG]")


@dataclass(frozen=True)
class Ports:
    """The TCP ports of a node, all on 127.0.0.1. TorchServe's defaults are its own.

    `router` is where clients ask; `node_metrics` tells of all programs of the node together.
    """

    __pydantic_config__ = _STRICT

    inference: int = 8080
    management: int = 8081
    metrics: int = 8082
    grpc_inference: int = 7070
    grpc_management: int = 7071
    router: int = 8000
    node_metrics: int = 9464

    def named(self) -> dict[str, int]:
        """Port by the flag of `tslc up` that sets it."""
        return {port_flag(name): getattr(self, name) for name in PORT_NAMES}

    def used(self, *, router: bool) -> dict[str, int]:
        """The ports of `named` that are listened on, with a router or without."""
        unused = () if router else (port_flag("router"), port_flag("node_metrics"))
        return {flag: port for flag, port in self.named().items() if flag not in unused}


PORT_NAMES = tuple(field.name for field in fields(Ports))


@dataclass(frozen=True)
class NodeSettings:
    """How a node is run.

    `token_minutes`: how long TorchServe's inference and management keys are good for. They lie in
    a file only its owner can read, beside the key that renews them, so a short life guards little,
    and a program that talks to the bridge has to read the file again when it is over: hence a week.
    `token_auth` False: TorchServe asks for no key, and writes none.
    """

    __pydantic_config__ = _STRICT

    name: str = DEFAULT_NODE
    ports: Ports = Ports()
    heap: str = "512m"
    token_minutes: float = 10_080.0
    install_requirements: bool = False
    token_auth: bool = True

    @property
    def vm_arguments(self) -> tuple[str, ...]:
        """What TorchServe's Java is started with."""
        return (f"-Xmx{self.heap}", "-XX:+ExitOnOutOfMemoryError")


@dataclass(frozen=True)
class NodeState:
    """What node.json holds. `pid` is None after `tslc down`, and until `tslc up` is done; it is the
    TorchServe that `tslc up` saw answer, which may have been started again since. `created` is the
    process's start time in seconds since the epoch, as the kernel tells it, so that a reused pid is
    not mistaken."""

    __pydantic_config__ = _STRICT

    settings: NodeSettings
    pid: int | None = None
    created: float | None = None
    started: str | None = None
    java: str | None = None
    version: Literal[1] = 1

    def render(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def parse(cls, text: str, subject: str) -> NodeState:
        return parse_state(cls, text, subject, "delete the file")


@dataclass(frozen=True)
class NodePaths:
    """Where everything of a node lies; TorchServe runs with `root` as its current folder."""

    root: Path

    @property
    def name(self) -> str:
        return self.root.name

    @property
    def state(self) -> Path:
        return self.root / "node.json"

    @property
    def config(self) -> Path:
        return self.root / "config.properties"

    @property
    def log_config(self) -> Path:
        return self.root / "log4j2.xml"

    @property
    def metrics_config(self) -> Path:
        return self.root / "metrics.yaml"

    @property
    def key_file(self) -> Path:
        return self.root / "key_file.json"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def console(self) -> Path:
        return self.logs / "console.log"

    @property
    def server_log(self) -> Path:
        return self.logs / "ts_log.log"

    @property
    def worker_log(self) -> Path:
        return self.logs / "model_log.log"

    @property
    def model_store(self) -> Path:
        return self.root / "model_store"

    @property
    def weights(self) -> Path:
        return self.root / "weights"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def mark(self) -> str:
        """What NODE_MARK is in the environment of every process the node started."""
        return str(self.root)

    @property
    def tmp(self) -> Path:
        return self.root / "tmp"

    @property
    def store(self) -> Path:
        """The store of the node, where the settings name none: data, keys, log."""
        return self.root / "store"

    @property
    def router(self) -> Path:
        """Envoy's files."""
        return self.root / "router"

    @property
    def router_log(self) -> Path:
        return self.logs / "router.log"

    @property
    def agent(self) -> Path:
        """What the agent keeps."""
        return self.root / "agent"

    @property
    def agent_log(self) -> Path:
        return self.logs / "agent.log"

    @property
    def supervisor(self) -> Path:
        """supervisord's files, and which process each program is."""
        return self.root / "supervisor"

    @property
    def folders(self) -> tuple[Path, ...]:
        serving = (self.logs, self.model_store, self.weights, self.run, self.tmp)
        return (*serving, self.router, self.agent, self.supervisor)


def home_folder(env: Mapping[str, str]) -> Path:
    """$TSLC_HOME, or ~/.local/state/tslc ($XDG_STATE_HOME/tslc when that is set)."""
    if stated := env.get("TSLC_HOME"):
        return Path(stated).expanduser()
    if state := env.get("XDG_STATE_HOME"):
        return Path(state) / "tslc"
    return Path(env.get("HOME", "~")).expanduser() / ".local" / "state" / "tslc"


def node_paths(home: Path, name: str) -> NodePaths:
    """The folders of the node called `name`; raises BadInput when the name is not one."""
    if not _NAME.fullmatch(name):
        raise BadInput(
            f"{name!r} is not a node's name: at most 32 letters, digits, '_' and '-'",
            hint="tslc up --name default",
        )
    return NodePaths(home / "nodes" / name)


def port_flag(field: str) -> str:
    return f"--{field.replace('_', '-')}-port"


def check_settings(settings: NodeSettings) -> None:
    """Raises BadFile with everything that is wrong with the settings."""
    if mistakes := tuple(_setting_mistakes(settings)):
        raise BadFile(f"node '{settings.name}'", mistakes)


def _setting_mistakes(settings: NodeSettings) -> Iterable[Mistake]:
    holder: dict[int, str] = {}
    for flag, port in settings.ports.named().items():
        if not 1 <= port <= 65_534:
            yield Mistake(flag, f"{port} is not a port a node can use", "1 to 65534")
        elif port in holder:
            yield Mistake(flag, f"{port} is {holder[port]}'s already", "give each its own port")
        holder.setdefault(port, flag)
    if not _HEAP.fullmatch(settings.heap):
        yield Mistake("--heap", f"{settings.heap!r} is not a size for Java", "such as 512m or 2g")
    if settings.token_minutes <= 0:
        yield Mistake("--token-minutes", "a key that is never good", "a number above 0")


def check_socket_room(paths: NodePaths, door: DoorName | None = None) -> None:
    """Raises BadInput when a Unix socket of the node (or the door) would have too long a path."""
    name = str(door or DoorName("m", "1.0.0", _LARGEST_PID))
    wanted = (
        (paths.run, len(name)),
        (paths.tmp, _TEMPORARY_SOCKET),
        (paths.supervisor, _CONTROL_SOCKET),
    )
    for folder, room in wanted:
        length = len(os.fsencode(folder)) + 1 + room
        if length > MAX_SOCKET_PATH:
            raise BadInput(
                f"{folder} is too long a folder for Unix sockets: {length} bytes with the socket's "
                f"name, {MAX_SOCKET_PATH} at most",
                hint="export TSLC_HOME=/tmp/tslc-$USER   # or any shorter folder",
            )


def longest_door(model: str, version: str) -> DoorName:
    """The door of a version with the longest pid there is."""
    return DoorName(model, version, _LARGEST_PID)
