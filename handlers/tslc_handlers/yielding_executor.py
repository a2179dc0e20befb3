"""vLLM's executor in the engine's own process, which gives way (executor.py says why)."""

from __future__ import annotations

from vllm.v1.executor.uniproc_executor import UniProcExecutor

from tslc_handlers.executor import give_way


class YieldingExecutor(UniProcExecutor):  # type: ignore[misc]
    """It is nice as soon as its model is warm; until then it loads as fast as it can."""

    def compile_or_warm_up_model(self) -> None:
        super().compile_or_warm_up_model()
        give_way()
