"""`tslc agent`."""

from __future__ import annotations

import os
import signal
import socket
from types import FrameType
from typing import Any

import click

from tslc.cli.node_options import home
from tslc.cli.output import log
from tslc.cli.store_options import node_of, settings_of, store_options


@click.command("agent")
@store_options
@click.option("--node-id", help="What the node is called in the store.  [default: HOST-NODE]")
@click.option(
    "--poll",
    default=1.0,
    show_default=True,
    help="Seconds between looks at the store; within ten minutes of a change, 0.25.",
)
@click.option("--metrics-port", type=int, help="Serve Prometheus metrics on 127.0.0.1.")
def command(
    name: str, node_id: str | None, poll: float, metrics_port: int | None, **flags: Any
) -> None:
    """Bring this node to what the store says, and keep it there.

    Loads, proves and unloads versions, gives the router its routes, restarts dead workers, reports
    to the store. `tslc up` runs it; it may be killed at any time, and goes on where it was. Without
    the store it keeps the node as it is.
    """
    from tslc.adapters.envoy_router import EnvoyRouter
    from tslc.domain.release.report import node_id_of
    from tslc.verbs.agent.loop import Agent, AgentWish

    settings = settings_of(flags)
    environment = settings.environment().name
    paths = node_of(name)
    wish = AgentWish(
        home(),
        name,
        node_id_of(node_id, socket.gethostname(), name),
        environment,
        settings,
        os.environ,
        poll,
        metrics_port,
        log,
    )
    agent = Agent(wish, paths, EnvoyRouter.of(paths))

    def stop(number: int, frame: FrameType | None) -> None:
        agent.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    log(f"node {wish.node_id} serves environment {environment}")
    agent.run()
