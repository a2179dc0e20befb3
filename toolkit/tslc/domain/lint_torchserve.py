"""What TorchServe's frontend has to be told so that it can drive a vLLM worker."""

from __future__ import annotations

from collections.abc import Iterator

from tslc.domain.gpus import Hardware
from tslc.domain.lint_config import ENGINE, LintedConfig
from tslc.domain.lint_rules import Finding

QUEUE_DEFAULT = 100


def check_torchserve(config: LintedConfig, hardware: Hardware | None) -> Iterator[Finding]:
    yield from _communication(config)
    yield from _workers(config, hardware)
    yield from _parallel(config)
    yield from _queue(config)


def _communication(config: LintedConfig) -> Iterator[Finding]:
    if config.value("asyncCommunication") is not True:
        said = "false" if config.has("asyncCommunication") else "not set, which means false"
        yield config.found(
            "sync-communication", ("asyncCommunication",), f"asyncCommunication is {said}"
        )
    for key in ("continuousBatching", "sequenceBatching"):
        if config.value(key) is True:
            yield config.found("batching-mode", (key,), f"{key} is true", fix=f"remove {key}")
    size = config.integer("batchSize", default=1)
    if size > 1:
        yield config.found("batch-size", ("batchSize",), f"batchSize is {size}")


def _workers(config: LintedConfig, hardware: Hardware | None) -> Iterator[Finding]:
    least, most = config.value("minWorkers"), config.value("maxWorkers")
    missing = [key for key in ("minWorkers", "maxWorkers") if not config.has(key)]
    if missing:
        problem = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set"
        yield config.found("workers", (missing[0],), problem)
        return
    if not isinstance(least, int) or not isinstance(most, int):
        return
    if least > most:
        yield config.found(
            "workers",
            ("maxWorkers",),
            f"maxWorkers {most} is below minWorkers {least}",
            fix=f"write maxWorkers: {least}",
        )
    elif most > 1 and not (config.on_gpu and hardware and hardware.gpus >= most):
        device = "GPU" if config.on_gpu else "CPU"
        yield config.found(
            "worker-copies",
            ("maxWorkers",),
            f"up to {most} workers: as many copies of the model in the memory of one {device}",
        )


def _parallel(config: LintedConfig) -> Iterator[Finding]:
    if config.has("torchrun"):
        yield config.found(
            "parallel-type", ("torchrun",), "a torchrun section", fix="remove torchrun"
        )
    level = config.integer("parallelLevel", default=0)
    kind = config.text("parallelType", default="").lower()
    if level > 0 and kind != "custom":
        said = f"parallelType is {kind}" if kind else "parallelType is not set"
        yield config.found("parallel-type", ("parallelType",), f"{said}, parallelLevel is {level}")
    if config.on_gpu:
        yield from _level(config, level)


def _level(config: LintedConfig, level: int) -> Iterator[Finding]:
    needed = config.engine_gpus
    if level == 0 and needed == 1:
        yield config.found(
            "gpu-choice", ("parallelLevel",), "the worker is not told which GPU is its own"
        )
    elif level != needed:
        said = f"parallelLevel is {level}" if level else "parallelLevel is not set"
        engine = f"the engine takes {needed} GPU{'s' if needed != 1 else ''}"
        path = ("parallelLevel",) if level else (*ENGINE, "tensor_parallel_size")
        yield config.found(
            "parallel-level",
            path,
            f"{said}, but {engine} (its parallel sizes multiplied)",
            fix=f"write parallelType: custom and parallelLevel: {needed}, or change "
            "tensor_parallel_size",
        )


def _queue(config: LintedConfig) -> Iterator[Finding]:
    size = config.integer("jobQueueSize", default=QUEUE_DEFAULT)
    if size <= QUEUE_DEFAULT:
        said = f"{size}" if config.has("jobQueueSize") else f"not set, which means {size}"
        yield config.found("job-queue-size", ("jobQueueSize",), f"jobQueueSize is {said}")
