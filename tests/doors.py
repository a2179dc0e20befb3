"""A handler's own door, opened in this process: uvicorn on a Unix socket, no TorchServe."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from tslc_handlers.vllm_handler import VLLMHandler


@contextlib.asynccontextmanager
async def opened(
    handler: VLLMHandler,
    section: Mapping[str, Any],
    run_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    archive: Path | None = None,
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the door of `handler`, which is started with `section` as its configuration and
    `archive` as its unpacked archive."""
    monkeypatch.setenv("TSLC_RUN_DIR", str(run_dir))
    # The reaper would end the tests' own process group; the worker's tests have it.
    monkeypatch.setattr(
        "tslc_handlers.vllm_handler.Reaper", lambda *_, **__: SimpleNamespace(keep=int)
    )
    await handler.start(
        SimpleNamespace(
            model_name="m",
            manifest={"model": {"modelVersion": "1.0"}},
            model_yaml_config={"handler": section},
            system_properties={"model_dir": str(archive or run_dir)},
        ),
        end_with_parent=False,
    )
    await handler._open_door()
    (socket,) = run_dir.glob("*.sock")
    transport = httpx.AsyncHTTPTransport(uds=str(socket), verify=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://door", timeout=10) as client:
        yield client
    await handler.close()
