"""The known mistakes in vLLM's own settings that need no knowledge of the model."""

from __future__ import annotations

from collections.abc import Iterator

from tslc.domain.lint_config import ENGINE, LintedConfig
from tslc.domain.lint_rules import Finding

LEAST_SHARE, MOST_SHARE = 0.9, 0.95
# Keys of the engine that the handler sets itself, and where they are said instead.
SET_BY_HANDLER = {
    "model": "name the weights in archive.yaml (weights), or in handler.model_path",
    "served_model_name": "move it to handler.served_model_name",
}


def check_engine(config: LintedConfig) -> Iterator[Finding]:
    yield from _share(config)
    if config.has("handler", "rag") and config.value(*ENGINE, "enable_prefix_caching") is False:
        yield config.found(
            "prefix-caching",
            (*ENGINE, "enable_prefix_caching"),
            "prefix caching is off, and the handler has a rag section",
        )
    for key, fix in SET_BY_HANDLER.items():
        if config.has(*ENGINE, key):
            yield config.found(
                "overridden-engine-key", (*ENGINE, key), f"{key} has no effect here", fix=fix
            )


def _share(config: LintedConfig) -> Iterator[Finding]:
    path = (*ENGINE, "gpu_memory_utilization")
    share = config.number(*path, default=LEAST_SHARE)
    if not config.on_gpu or not 0 < share <= 1:
        return
    if share < LEAST_SHARE:
        unused = f"{(1 - share) * 100:.0f}% of the GPU is not used"
        yield config.found("gpu-memory-utilization", path, f"{share:g}: {unused}")
    elif share > MOST_SHARE:
        left = f"{(1 - share) * 100:.0f}% is left for everything else"
        yield config.found("gpu-memory-utilization", path, f"{share:g}: {left}")
