"""Which programs a node consists of, and what each is started with."""

from __future__ import annotations

from collections.abc import Mapping

from tslc.adapters import seaweedfs, torchserve_process
from tslc.adapters.torchserve_process import Java
from tslc.domain import local_store
from tslc.domain.local_store import StorePaths, StoreState
from tslc.domain.node import NodePaths, NodeSettings
from tslc.domain.node_files import server_environment
from tslc.domain.supervised import STORE, TORCHSERVE, Program, split_environment

# What is stopped with it or before it: nobody asks the store but the agent.
_SERVING = 10
_TORCHSERVE_SECONDS = 20
# SeaweedFS takes 15 s over a polite end, and has nothing to finish.
_STORE_SECONDS = 1


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


def routing_programs(
    paths: NodePaths, settings: NodeSettings, env: Mapping[str, str]
) -> tuple[Program, ...]:
    """The router and the agent; none are there yet.

    Theirs are priorities above `_SERVING` (the agent's the highest: it is stopped first), and in
    their environments PROGRAM_MARK has to be `str(paths.root)`, by which `tslc down` finds them,
    and NODE_MARK must not be: a TorchServe that starts ends all that bear it.
    """
    return ()
