"""A model config without a mistake, and what the linter says of a changed one."""

from __future__ import annotations

from tslc.adapters.vllm_source import packaged_engine_fields
from tslc.domain.gpus import GPUS, Hardware
from tslc.domain.lint import check_model_config
from tslc.domain.lint_rules import Finding
from tslc.domain.memory import WeightsFacts, read_architecture

FIELDS = packaged_engine_fields()
GOOD = """\
minWorkers: 1
maxWorkers: 1
deviceType: gpu
parallelType: custom
parallelLevel: 1
asyncCommunication: true
jobQueueSize: 1000
startupTimeout: 1800
handler:
  vllm_engine_config:
    gpu_memory_utilization: 0.92
    tensor_parallel_size: 1
    max_model_len: 8192
"""


def facts(config: dict[str, object]) -> WeightsFacts:
    return WeightsFacts(read_architecture(config), None)


def lint(
    text: str, weights: WeightsFacts | None = None, hardware: Hardware | None = None
) -> tuple[Finding, ...]:
    return check_model_config(
        text, "config.yaml", engine_fields=FIELDS, weights=weights, hardware=hardware
    )


def rules(
    text: str, weights: WeightsFacts | None = None, hardware: Hardware | None = None
) -> list[str]:
    return [finding.rule for finding in lint(text, weights, hardware)]


def cards(name: str, count: int = 1) -> Hardware:
    return Hardware(GPUS[name], count, name)
