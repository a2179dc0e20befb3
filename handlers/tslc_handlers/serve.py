"""The same handler without TorchServe: an archive's folder behind uvicorn.

    python -m tslc_handlers.serve FOLDER [--host 127.0.0.1 --port 8000 | --uds PATH]

The endpoints are where vLLM has them, and where TorchServe would have them too:
/predictions/MODEL/VERSION/v1/…, or without the version.

FOLDER is what an archive unpacks to. Its handler is imported from there, and its tslc_handlers too
(this process becomes one that finds them first), so that a version runs its own code. Ends with 1
and the reason when the model does not load.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import logging
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import uvloop
import yaml

if TYPE_CHECKING:
    from tslc_handlers.asgi import ASGIApp, Receive, Scope, Send


def context_of(folder: Path) -> Any:
    """What TorchServe would hand `initialize`, as far as the handler uses it."""
    manifest = json.loads((folder / "MAR-INF" / "MANIFEST.json").read_text())
    model = manifest["model"]
    config = yaml.safe_load((folder / model["configFile"]).read_text())
    return SimpleNamespace(
        model_name=model["modelName"],
        manifest=manifest,
        model_yaml_config=config,
        system_properties={"model_dir": str(folder)},
        metrics=None,
    )


def handler_of(folder: Path, file: str) -> Any:
    """The one class defined in the archive's handler file."""
    sys.path.insert(0, str(folder))
    module = importlib.import_module(Path(file).stem)
    (kind,) = [
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if member.__module__ == module.__name__
    ]
    return kind()


def at_torchserve_paths(app: ASGIApp, model: str, version: str) -> ASGIApp:
    """`app`, asked by the paths of TorchServe's frontend as well."""
    bases = (f"/predictions/{model}/{version}/", f"/predictions/{model}/")

    async def asked(scope: Scope, receive: Receive, send: Send) -> None:
        for base in bases if scope["type"] == "http" else ():
            if scope["path"].startswith(base):
                path = "/" + scope["path"].removeprefix(base)
                scope = {**scope, "path": path, "raw_path": path.encode()}
                break
        await app(scope, receive, send)

    return asked


async def serve(folder: Path, uds: Path | None, *, end_with_parent: bool, **where: Any) -> None:
    from tslc_handlers.door import listen, server

    context = context_of(folder)
    about = context.manifest["model"]
    handler = handler_of(folder, about["handler"])
    await handler.start(context, end_with_parent=end_with_parent)
    try:
        sockets = [listen(uds)] if uds else None
        app = at_torchserve_paths(handler.door, about["modelName"], about["modelVersion"])
        await server(app, signals=True, **where).serve(sockets=sockets)
    finally:
        await handler.close()


def run_own_code(folder: Path, arguments: list[str]) -> None:
    """Does not return where the archive has other tslc_handlers than these: they take over."""
    own = folder / "tslc_handlers"
    if not (own / "serve.py").is_file() or own.samefile(Path(__file__).parent):
        return
    others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if others[0] == str(folder):
        raise SystemExit(f"can't import {own}: these came first: {Path(__file__).parent}")
    path = os.pathsep.join([str(folder), *filter(None, others)])
    # -P: without it the current folder comes before PYTHONPATH.
    command = [sys.executable, "-P", "-m", "tslc_handlers.serve", *arguments]
    os.execve(sys.executable, command, {**os.environ, "PYTHONPATH": path})  # noqa: S606 - itself


def main() -> None:
    parser = argparse.ArgumentParser(prog="tslc_handlers.serve")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--uds", type=Path, help="a Unix socket instead of host and port")
    parser.add_argument(
        "--end-with-parent", action="store_true", help="end when the process that started this does"
    )
    args = parser.parse_args()
    run_own_code(args.folder.resolve(), sys.argv[1:])
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    where = {"host": args.host, "port": args.port, "end_with_parent": args.end_with_parent}
    uvloop.run(serve(args.folder.resolve(), args.uds, **where))


if __name__ == "__main__":
    main()
