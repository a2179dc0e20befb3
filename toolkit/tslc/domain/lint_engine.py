"""The known mistakes in vLLM's own settings that need no knowledge of the model."""

from __future__ import annotations

from collections.abc import Iterator

from tslc.domain.lint_config import ENGINE, LintedConfig
from tslc.domain.lint_rules import Finding

LEAST_SHARE, MOST_SHARE = 0.9, 0.95


def check_engine(config: LintedConfig) -> Iterator[Finding]:
    yield from _share(config)
    if config.has("handler", "rag") and config.value(*ENGINE, "enable_prefix_caching") is False:
        yield config.found(
            "prefix-caching",
            (*ENGINE, "enable_prefix_caching"),
            "prefix caching is off, and the handler has a rag section",
        )
    yield from _weights(config)
    if config.has(*ENGINE, "served_model_name"):
        yield config.found(
            "overridden-engine-key",
            (*ENGINE, "served_model_name"),
            "served_model_name has no effect here",
            fix="move it to handler.served_model_name",
        )


def _weights(config: LintedConfig) -> Iterator[Finding]:
    """Weights named in the model config count only in an archive that names none."""
    for path in ((*ENGINE, "model"), ("handler", "model_path")):
        if not config.value(*path) or config.weights_named:
            continue
        if config.weights_named is False:
            problem = f"{path[-1]} counts, but these weights are not versioned"
        else:
            problem = f"weights that {path[-1]} names are not versioned"
        yield config.found("unversioned-weights", path, problem)
    if config.weights_named and config.has(*ENGINE, "model"):
        problem = "model has no effect here: archive.yaml names the weights"
        yield config.found("overridden-engine-key", (*ENGINE, "model"), problem, fix="remove it")


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
