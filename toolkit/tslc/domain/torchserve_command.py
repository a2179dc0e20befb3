"""The command line of TorchServe's Java: what `torchserve --start` would run.

TorchServe's own starter leaves Java to itself and ends, or waits for it without passing on the
signal to end: neither is for a supervisor.
"""

from __future__ import annotations

from pathlib import Path

from tslc.domain.node import NodePaths, NodeSettings

SERVER_CLASS = "org.pytorch.serve.ModelServer"


def java_command(
    java: str, packages: Path, python: str, paths: NodePaths, settings: NodeSettings
) -> tuple[str, ...]:
    """`packages` is the folder the Python package `ts` lies in. No secret is in it."""
    return (
        java,
        f"-Dmodel_server_home={packages}",
        f"-Dlog4j.configurationFile=file://{paths.log_config}",
        f"-Djava.io.tmpdir={paths.tmp}",
        *settings.vm_arguments,
        "-cp",
        f".:{packages / 'ts' / 'frontend'}/*",
        SERVER_CLASS,
        "--python",
        python,
        "-f",
        str(paths.config),
        "-s",
        str(paths.model_store),
        "-ncs",
    )
