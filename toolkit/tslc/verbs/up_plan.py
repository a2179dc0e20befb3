"""What `tslc up` was asked for, what of it can't be, and what it would do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from tslc.adapters import envoy_process, node_folder, seaweedfs, supervisor, torchserve_process
from tslc.adapters.clock import wait_until
from tslc.adapters.loopback_ports import holder, holder_pid, is_free, pick_free
from tslc.adapters.node_processes import node_processes
from tslc.adapters.torchserve_process import Java
from tslc.domain.local_store import StoreEndpoint
from tslc.domain.node import (
    PORT_NAMES,
    NodePaths,
    NodeSettings,
    NodeState,
    Ports,
    check_settings,
    check_socket_room,
)
from tslc.errors import Refused
from tslc.verbs.node_programs import RoutingWish

START_SECONDS = 60.0
_ENDING_SECONDS = 3.0


@dataclass(frozen=True)
class Wish:
    """What was asked for; None and absent mean: as it is, or the default.

    `store`: the local store is to run as well; `routing`: the router and the agent are.
    """

    name: str
    ports: Mapping[str, int] = field(default_factory=dict)
    free_ports: bool = False
    heap: str | None = None
    token_minutes: float | None = None
    install_requirements: bool = False
    token_auth: bool = True
    store: bool = False
    routing: RoutingWish | None = None

    def settings(self) -> NodeSettings:
        """The settings of a new node; ports that were not named are free ones if so wished."""
        ports = dict(self.ports)
        if self.free_ports:
            unnamed = [name for name in PORT_NAMES if name not in ports]
            picked = pick_free(len(unnamed), apart=ports.values())
            ports |= dict(zip(unnamed, picked, strict=True))
        return replace(NodeSettings(self.name, Ports(**ports)), **self._wished())

    def differs_from(self, running: NodeSettings) -> tuple[str, ...]:
        """The wishes a running node does not fulfil."""
        wished = {**{f"{name} port": port for name, port in self.ports.items()}, **self._wished()}
        actual = {f"{name} port": port for name, port in asdict(running.ports).items()}
        actual |= asdict(running)
        return tuple(
            f"{name.replace('_', ' ')} {actual[name]}, not {value}"
            for name, value in wished.items()
            if actual[name] != value
        )

    def _wished(self) -> dict[str, Any]:
        said = {
            "heap": self.heap,
            "token_minutes": self.token_minutes,
            "install_requirements": self.install_requirements or None,
            "token_auth": None if self.token_auth else False,
        }
        return {name: value for name, value in said.items() if value is not None}


@dataclass(frozen=True)
class Up:
    """`already`: it ran before. In a dry run `plan` says what would be done, and `pid` is None.

    `store` is the local one, if it was wished for; `store_already`: it ran before. `router`: its
    address.
    """

    paths: NodePaths
    settings: NodeSettings
    pid: int | None
    already: bool = False
    plan: tuple[str, ...] = ()
    store: StoreEndpoint | None = None
    store_already: bool = False
    router: str | None = None


def running_state(paths: NodePaths, wish: Wish) -> NodeState | None:
    """What a node that is up remembers: one whose supervisord was killed, or whose TorchServe is
    just started again, is up as well."""
    state = node_folder.read_state(paths)
    if state is None or state.pid is None:
        return None
    if not supervisor.is_running(paths) and torchserve_process.running(paths) is None:
        return None
    if differences := wish.differs_from(state.settings):
        raise Refused(
            f"node '{wish.name}' is running, with {'; '.join(differences)}",
            hint=f"tslc down --name {wish.name}   # then tslc up again",
        )
    return state


def check(
    paths: NodePaths, wish: Wish, env: Mapping[str, str], ending: frozenset[int] = frozenset()
) -> tuple[NodeSettings, Java]:
    """All that can be known to fail before anything is started; ports of `ending` will be free."""
    settings = wish.settings()
    check_settings(settings)
    check_socket_room(paths)
    torchserve_process.check_torchserve()
    supervisor.check_installed()
    java = torchserve_process.find_java(env)
    ports = settings.ports.used(router=wish.routing is not None)

    def held() -> dict[str, int]:
        return {
            flag: port
            for flag, port in ports.items()
            if not is_free(port) and holder_pid(port) not in ending
        }

    # A process that ends is nobody's any more before the last of its ports is free.
    wait_until(lambda: all(holder_pid(port) for port in held().values()), _ENDING_SECONDS)
    if busy := held():
        raise Refused(
            "\n    ".join(
                ["the node's ports are not all free:"]
                + [f"{flag} {port}: {_held(port)}" for flag, port in busy.items()]
            ),
            hint=f"tslc up --free-ports   # or name others: {' '.join(f'{f} N' for f in busy)}",
        )
    return settings, java


def _held(port: int) -> str:
    by = holder(port)
    return f"held by {by}" if by else "held by a process this user may not see"


def plan_up(paths: NodePaths, wish: Wish, env: Mapping[str, str]) -> Up:
    store: tuple[str, ...] = ()
    if wish.store and not seaweedfs.is_running(paths):
        store = (f"start SeaweedFS ({seaweedfs.find_weed(env)}) on 127.0.0.1: the local store",)
    if state := running_state(paths, wish):
        again = "start supervisord again, which takes over what runs"
        recovery = () if supervisor.is_running(paths) else (again,)
        run = torchserve_process.running(paths)
        pid = run.pid if run else None
        return Up(paths, state.settings, pid, already=True, plan=(*recovery, *store))
    left = frozenset(
        process.pid for process in (*supervisor.processes(paths), *node_processes(paths))
    )
    settings, java = check(paths, wish, env, left)
    used = settings.ports.used(router=wish.routing is not None)
    ports = ", ".join(f"{flag.strip('-')} {port}" for flag, port in used.items())
    steps = (
        *([f"end what an earlier start left: {sorted(left)}"] if left else []),
        f"write {paths.config.name}, {paths.log_config.name} and {paths.metrics_config.name} "
        f"to {paths.root}",
        "start supervisord, which keeps running what is started here",
        f"start TorchServe with Java {java}, heap {settings.heap}",
        f"on 127.0.0.1: {ports}",
        f"wait up to {START_SECONDS:g} s until it answers",
    )
    return Up(paths, settings, None, plan=(*steps, *store, *_routing_steps(wish, settings, env)))


def _routing_steps(wish: Wish, settings: NodeSettings, env: Mapping[str, str]) -> tuple[str, ...]:
    if wish.routing is None:
        return ()
    envoy = envoy_process.find_envoy(env)
    return (
        f"start Envoy ({envoy}) on {wish.routing.host}:{settings.ports.router}: the router",
        f"start the agent, for environment {wish.routing.environment}",
    )
