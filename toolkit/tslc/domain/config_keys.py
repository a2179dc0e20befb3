"""Every key a model config may have, its type, and the values it takes.

TorchServe's keys are those of its frontend's ModelConfig; integers there are 32 bits wide, and a
value of another type is logged and ignored. The handler's are those of `tslc_handlers`.
"""

from __future__ import annotations

from dataclasses import dataclass

INT_MAX = 2**31 - 1


@dataclass(frozen=True)
class Key:
    """`annotation` as in annotations.py; `least` and `most` bound numbers."""

    annotation: str
    least: float | None = None
    most: float | None = None


def _whole(least: int) -> Key:
    return Key("int", least, INT_MAX)


TORCHSERVE: dict[str, Key] = {
    "minWorkers": _whole(1),
    "maxWorkers": _whole(1),
    "batchSize": _whole(1),
    "maxBatchDelay": _whole(0),
    "responseTimeout": _whole(1),
    "startupTimeout": _whole(1),
    "deviceType": Key("Literal['cpu', 'gpu']"),
    "deviceIds": Key("list[int]"),
    "parallelType": Key("Literal['pp', 'tp', 'pptp', 'custom']"),
    "parallelLevel": _whole(0),
    "torchrun": Key("dict[str, Any]"),
    "maxRetryTimeoutInSec": _whole(0),
    "clientTimeoutInMills": _whole(0),
    "jobQueueSize": _whole(1),
    "useJobTicket": Key("bool"),
    "sequenceMaxIdleMSec": _whole(0),
    "sequenceTimeoutMSec": _whole(0),
    "maxSequenceJobQueueSize": _whole(1),
    "maxNumSequence": _whole(1),
    "continuousBatching": Key("bool"),
    "sequenceBatching": Key("bool"),
    "asyncCommunication": Key("bool"),
    "useVenv": Key("bool"),
    "handler": Key("dict[str, Any]"),
}

TORCHRUN: dict[str, Key] = {
    "nnodes": _whole(1),
    "nproc-per-node": _whole(1),
    "rdzv-backend": Key("str"),
    "rdzv-endpoint": Key("str"),
    "rdzv-conf": Key("str"),
    "monitor-interval": _whole(1),
    "node-rank": _whole(0),
    "OMP_NUMBER_THREADS": _whole(1),
}

# Endpoints a version may serve; a test compares them with the handlers' own list.
ENDPOINTS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/models",
    "/v1/responses",
    "/v1/messages",
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
    "/v1/rerank",
    "/v1/score",
    "/classify",
    "/pooling",
    "/rerank",
    "/score",
    "/tokenize",
    "/detokenize",
    "/version",
)

# null leaves the default in force, so every key of the handler's takes it.
HANDLER: dict[str, Key] = {
    "vllm_engine_config": Key("dict[str, Any] | None"),
    "model_path": Key("str | None"),
    "served_model_name": Key("str | list[str] | None"),
    "system_prompt": Key("str | None"),
    "chat_template": Key("str | None"),
    "chat_template_content_format": Key("Literal['auto', 'string', 'openai'] | None"),
    "default_chat_template_kwargs": Key("dict[str, Any] | None"),
    "adapters": Key("dict[str, str] | None"),
    "tool_call_parser": Key("str | None"),
    "reasoning_parser": Key("str | None"),
    "response_role": Key("str | None"),
    "endpoints": Key(f"list[Literal{list(ENDPOINTS)}] | None"),
    "environment": Key("dict[str, str] | None"),
    "max_body_bytes": Key("int | None", 1),
    "ready_timeout_seconds": Key("float | None", 0.001),
    "log_level": Key("Literal['critical', 'error', 'warning', 'info', 'debug', 'trace'] | None"),
    "rag": Key("dict[str, Any] | None"),
    "guard": Key("dict[str, Any] | None"),
}

RAG: dict[str, Key] = {
    "top_k": Key("int | None", 1, 100),
    "candidates": Key("int | None", 1, 10_000),
    "token_budget": Key("int | None", 1),
    "answer_tokens": Key("int | None", 1),
    "min_similarity": Key("float | None", -1, 1),
    "timeout_seconds": Key("float | None", 0.001),
    "instructions": Key("str | None"),
    "retriever": Key("dict[str, Any] | None"),
}

RETRIEVER: dict[str, Key] = {
    "type": Key("Literal['local', 'pgvector']"),
    "dsn_env": Key("str"),
    "table": Key("str"),
    "language": Key("str"),
}

GUARD: dict[str, Key] = {
    "url": Key("str | None"),
    "model": Key("str | None"),
    "api_key_env": Key("str | None"),
    "mode": Key("Literal['enforce', 'monitor'] | None"),
    "on_error": Key("Literal['unavailable', 'refuse'] | None"),
    "threshold": Key("float | None", 0, 1),
    "categories": Key("dict[str, Any] | None"),
    "refusal": Key("str | None"),
    "window_tokens": Key("int | None", 1),
    "timeout_seconds": Key("float | None", 0.001),
    "stages": Key("list[Literal['input', 'output']] | None"),
    "audit_text": Key("bool | None"),
    "vllm_engine_config": Key("dict[str, Any] | None"),
    "environment": Key("dict[str, str] | None"),
}

# Bounds of vLLM's own checks, for the arguments whose mistakes are common.
ENGINE_BOUNDS: dict[str, tuple[float, float | None]] = {
    "gpu_memory_utilization": (0.001, 1),
    "tensor_parallel_size": (1, None),
    "pipeline_parallel_size": (1, None),
    "data_parallel_size": (1, None),
    "max_num_seqs": (1, None),
    "max_num_batched_tokens": (1, None),
    "max_model_len": (-1, None),
    "block_size": (1, None),
}
