"""Which programs a node consists of, and what each is started with."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tslc.adapters import envoy_process, seaweedfs, torchserve_process
from tslc.adapters.torchserve_process import Java
from tslc.domain import local_store
from tslc.domain.local_store import StorePaths, StoreState
from tslc.domain.node import NODE_MARK, NodePaths, NodeSettings
from tslc.domain.node_files import server_environment
from tslc.domain.router.settings import RouterPaths, RouterSettings
from tslc.domain.settings import VARIABLES
from tslc.domain.supervised import (
    AGENT,
    PROGRAM_MARK,
    ROUTER,
    STORE,
    TORCHSERVE,
    Program,
    split_environment,
)

# What is stopped with it or before it: nobody asks the store but the agent.
_SERVING = 10
_ROUTING = 20
_AGENT = 30
_TORCHSERVE_SECONDS = 20
ENVIRONMENT_VARIABLE = VARIABLES["default_environment"]
# SeaweedFS takes 15 s over a polite end, and has nothing to finish.
_STORE_SECONDS = 1
_ROUTER_SECONDS = 5
_AGENT_SECONDS = 8


def torchserve_program(
    paths: NodePaths, settings: NodeSettings, java: Java, env: Mapping[str, str]
) -> Program:
    """`env` is what supervisord has, here and below."""
    own, inherited = split_environment(server_environment(env, paths, java.home), env)
    return Program(
        name=TORCHSERVE,
        command=torchserve_process.command(paths, settings, java),
        environment=own,
        inherited=inherited,
        folder=paths.root,
        log=paths.console,
        priority=_SERVING,
        stop_seconds=_TORCHSERVE_SECONDS,
    )


def store_program(paths: NodePaths, state: StoreState, env: Mapping[str, str]) -> Program:
    """The store of a node; raises BadInput when SeaweedFS is not installed."""
    store = StorePaths(paths.store)
    own, inherited = split_environment(local_store.server_environment(env, store), env)
    return Program(
        name=STORE,
        command=tuple(local_store.server_command(seaweedfs.find_weed(env), state, store)),
        environment=own,
        inherited=inherited,
        folder=store.root,
        log=store.console,
        priority=_SERVING,
        stop_seconds=_STORE_SECONDS,
    )


@dataclass(frozen=True)
class RoutingWish:
    """How the node is to be reached, and what its agent brings it to.

    `environ`: variables that name the agent's settings; they hold no secrets. `host`: the address
    the router listens on; `open_to_all`: also without API keys, beyond this machine.
    """

    environment: str
    environ: Mapping[str, str] = field(default_factory=dict)
    host: str = "127.0.0.1"
    certificate: Path | None = None
    certificate_key: Path | None = None
    open_to_all: bool = False
    node_id: str | None = None


def routing_programs(
    paths: NodePaths, settings: NodeSettings, wish: RoutingWish, env: Mapping[str, str]
) -> tuple[Program, ...]:
    """The router and the agent. The router's files are written. Raises BadInput without Envoy."""
    metrics = settings.ports.node_metrics
    return _router_program(paths, settings, wish, env), _agent_program(paths, metrics, wish, env)


def _router_program(
    paths: NodePaths, settings: NodeSettings, wish: RoutingWish, env: Mapping[str, str]
) -> Program:
    router = RouterPaths(paths.router)
    chosen = RouterSettings(
        port=settings.ports.router,
        host=wish.host,
        certificate=wish.certificate,
        certificate_key=wish.certificate_key,
        hash_salt=envoy_process.salt(router),
        bridge_port=settings.ports.inference,
        node=settings.name,
        open_to_all=wish.open_to_all,
    )
    envoy = envoy_process.find_envoy(env)
    envoy_process.prepare(router, chosen)
    wanted = {**envoy_process.environment(env), PROGRAM_MARK: str(paths.root)}
    own, inherited = split_environment(wanted, env)
    return Program(
        name=ROUTER,
        command=envoy_process.command(envoy, router, chosen),
        environment=own,
        inherited=inherited,
        folder=paths.router,
        log=paths.logs / "router.log",
        priority=_ROUTING,
        stop_seconds=_ROUTER_SECONDS,
    )


def _agent_program(
    paths: NodePaths, metrics: int, wish: RoutingWish, env: Mapping[str, str]
) -> Program:
    """It has the environment of `tslc up`: the store's credentials come from there."""
    kept = {name: value for name, value in env.items() if name != NODE_MARK}
    wanted = kept | {
        **wish.environ,
        ENVIRONMENT_VARIABLE: wish.environment,
        "TSLC_HOME": str(paths.root.parent.parent),
        PROGRAM_MARK: str(paths.root),
    }
    own, inherited = split_environment(wanted, env)
    told = ("--name", paths.name, "--metrics-port", str(metrics))
    named = ("--node-id", wish.node_id) if wish.node_id else ()
    return Program(
        name=AGENT,
        command=(*(sys.executable, "-P", "-m", "tslc", "agent"), *told, *named),
        environment=own,
        inherited=inherited,
        folder=paths.root,
        log=paths.logs / "agent.log",
        priority=_AGENT,
        stop_seconds=_AGENT_SECONDS,
    )
