"""Without TorchServe an archive answers at TorchServe's paths too."""

from __future__ import annotations

from typing import Any

import pytest

from tslc_handlers.serve import at_torchserve_paths


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ("/v1/completions", "/v1/completions"),
        ("/predictions/m/1.0/v1/completions", "/v1/completions"),
        ("/predictions/m/v1/completions", "/v1/completions"),
        ("/predictions/m/1.0", "/1.0"),
        ("/predictions/m/2.0/v1/completions", "/2.0/v1/completions"),
        ("/predictions/other/1.0/v1/completions", "/predictions/other/1.0/v1/completions"),
        ("/predictions/m", "/predictions/m"),
        ("/x/predictions/m/1.0/v1/completions", "/x/predictions/m/1.0/v1/completions"),
    ],
)
async def test_an_endpoint_is_found_by_the_frontends_path(asked: str, path: str) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    given = {"type": "http", "path": asked, "raw_path": asked.encode()}
    await at_torchserve_paths(app, "m", "1.0")(given, None, None)  # type: ignore[arg-type]
    assert seen == [{"type": "http", "path": path, "raw_path": path.encode()}]
    assert given["path"] == asked


async def test_what_is_no_request_passes_as_it_is() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    await at_torchserve_paths(app, "m", "1.0")({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert seen == [{"type": "lifespan"}]
