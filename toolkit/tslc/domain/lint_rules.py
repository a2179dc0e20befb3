"""The rules of `tslc lint`: their ids, what each one looks at, why it matters and the way out.

An id never changes once released: people write it in `# tslc: allow <id>` comments.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """`error`: it won't work as written. `warning`: it works badly. `note`: good to know."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Rule:
    id: str
    severity: Severity
    what: str
    why: str
    fix: str


@dataclass(frozen=True)
class Finding:
    """One thing a rule found.

    `where` names file, line and key; `line` counts from 1; `key` is dotted, empty for the file.
    """

    rule: str
    severity: Severity
    where: str
    line: int
    key: str
    problem: str
    why: str
    fix: str


_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTE

_ALL = (
    Rule(
        "yaml",
        _E,
        "the file is one YAML mapping of plain values",
        "TorchServe refuses to register an archive whose model config it can't read.",
        "Mend the YAML at the line named.",
    ),
    Rule(
        "unreadable",
        _E,
        "every file named is there and a text",
        "Nothing of it was checked.",
        "Name a file that is there.",
    ),
    Rule(
        "archive-spec",
        _E,
        "archive.yaml is complete, and what it names is there and can be packed",
        "No archive is built from it.",
        "Write what the message names.",
    ),
    Rule(
        "duplicate-key",
        _E,
        "no key is written twice in one mapping",
        "YAML loaders keep the last one without a word; the first looks as if it were in force.",
        "Keep one of them.",
    ),
    Rule(
        "allow-comment",
        _E,
        "`# tslc: allow` comments name rules that exist",
        "A misspelt rule allows nothing, and hides that it doesn't.",
        "Write the id of a rule.",
    ),
    Rule(
        "unknown-key",
        _E,
        "every key is one of TorchServe's, the handler's or the engine's",
        "TorchServe ignores keys it doesn't know, so a misspelt one silently leaves the default in "
        "force; the handler and the engine refuse them when the worker loads.",
        "Write the key the message names, or remove it.",
    ),
    Rule(
        "wrong-type",
        _E,
        "every value has the type of its key",
        "TorchServe logs a warning and goes on with the default when a value has the wrong type; "
        "the engine fails when it loads.",
        "Write a value of the type the message names.",
    ),
    Rule(
        "bad-value",
        _E,
        "values are in the range or the list of words that their key has",
        "TorchServe replaces values out of range by others, the engine refuses them.",
        "Write a value the message names.",
    ),
    Rule(
        "sync-communication",
        _E,
        "asyncCommunication is true",
        "Without it TorchServe hands the worker one batch at a time and waits: the engine can't "
        "batch requests as they come, and the handler's answers have nowhere to go.",
        "Write asyncCommunication: true.",
    ),
    Rule(
        "batching-mode",
        _E,
        "continuousBatching and sequenceBatching are not set beside asyncCommunication",
        "Either one makes TorchServe collect requests its own way, and the asynchronous worker "
        "then gets messages it can't take.",
        "Remove the key: vLLM batches by itself.",
    ),
    Rule(
        "batch-size",
        _E,
        "batchSize is 1",
        "vLLM batches inside the engine. A batch made by TorchServe holds requests back to fill "
        "up, and the handler answers one request a message.",
        "Write batchSize: 1 or leave it out; the engine's own limit is max_num_seqs.",
    ),
    Rule(
        "workers",
        _E,
        "minWorkers and maxWorkers are both there, and max is not below min",
        "TorchServe takes them from a model config only together; otherwise it registers the "
        "model with no worker, or with a count given elsewhere.",
        "Write minWorkers: 1 and maxWorkers: 1.",
    ),
    Rule(
        "worker-copies",
        _N,
        "there is one worker",
        "Each worker loads the whole model again and has a KV cache of its own. On one GPU or one "
        "CPU they take each other's memory; the engine serves many requests with one worker.",
        "Write minWorkers: 1 and maxWorkers: 1, and raise max_num_seqs instead.",
    ),
    Rule(
        "parallel-level",
        _E,
        "parallelLevel is the number of GPUs of one engine: tensor_parallel_size × "
        "pipeline_parallel_size × data_parallel_size",
        "TorchServe reserves parallelLevel GPUs for a worker and shows it only those. Fewer than "
        "the engine needs and it fails to load or takes the GPUs of others; more stay idle.",
        "Make parallelLevel and the engine's sizes agree.",
    ),
    Rule(
        "parallel-type",
        _E,
        "parallelType is custom where parallelLevel is set, and there is no torchrun section",
        "With pp, tp or pptp TorchServe starts the worker through torchrun, once for each GPU; "
        "vLLM starts its own processes. Without parallelType, parallelLevel is ignored.",
        "Write parallelType: custom and remove torchrun.",
    ),
    Rule(
        "gpu-choice",
        _N,
        "a GPU config says parallelType: custom and parallelLevel, for one GPU too",
        "Only then TorchServe gives a worker its own CUDA_VISIBLE_DEVICES; otherwise every worker "
        "sees all GPUs and the engine takes the first.",
        "Write parallelType: custom and parallelLevel: 1.",
    ),
    Rule(
        "job-queue-size",
        _W,
        "jobQueueSize is over TorchServe's default of 100",
        "A request that finds the queue full gets 503. The queue counts all requests not yet taken "
        "by the worker: with the default, 500 clients at once saw 23% of their requests refused.",
        "Write jobQueueSize: 1000 or more.",
    ),
    Rule(
        "gpu-memory-utilization",
        _W,
        "gpu_memory_utilization is between 0.9 and 0.95, on GPUs",
        "What it leaves out is KV cache never used: fewer requests at once. Over 0.95 there is too "
        "little left for CUDA graphs, peaks while prompts are read, and other users of the card.",
        "Write 0.9 to 0.95; where another engine shares the GPU (a guard beside a model), write "
        "each one's share and `# tslc: allow gpu-memory-utilization` on the line.",
    ),
    Rule(
        "prefix-caching",
        _W,
        "prefix caching is on where there is a rag section",
        "Prompts of retrieval begin with the same system prompt and often the same passages; "
        "without the cache the engine reads them again for each request.",
        "Write enable_prefix_caching: true.",
    ),
    Rule(
        "overridden-engine-key",
        _W,
        "vllm_engine_config has no key the handler sets itself",
        "The weights come from the archive's manifest and the names from the handler's own key, "
        "whatever the engine's section says.",
        "Use the handler's key the message names.",
    ),
    Rule(
        "unversioned-weights",
        _W,
        "the weights are named in archive.yaml, not in the model config",
        "What a model config names is loaded as it is that day, and no digest says what it was: "
        "the same version may answer with other weights.",
        "Name the weights in archive.yaml (weights).",
    ),
    Rule(
        "startup-timeout",
        _W,
        "startupTimeout is long enough to load the weights",
        "TorchServe kills a worker that has not loaded in time, and starts it again: a big model "
        "never gets ready. The default is 120 s. Assumed here: 90 s for imports, profiling and "
        "graph capture, and 200 MB/s from disk, a cold network volume.",
        "Write the seconds the message names, or more.",
    ),
    Rule(
        "weights-fit",
        _E,
        "the weights fit the GPUs of one engine",
        "The engine stops with out of memory while it loads.",
        "Use more GPUs (tensor_parallel_size with parallelLevel), a quantised model, or bigger "
        "GPUs.",
    ),
    Rule(
        "max-model-len",
        _E,
        "the KV cache can hold one request of max_model_len tokens",
        "vLLM refuses to start when the memory left beside the weights can't hold the longest "
        "request it promises. Room: GPU memory × gpu_memory_utilization - weights - 1 GiB.",
        "Write the max_model_len the message names, or make room.",
    ),
    Rule(
        "context-length",
        _E,
        "max_model_len is not over the context the model was made for",
        "vLLM refuses to start with more than max_position_embeddings of config.json.",
        "Write at most the number the message names.",
    ),
    Rule(
        "gpu-count",
        _E,
        "workers × GPUs of one engine are not more than there are",
        "TorchServe starts no more workers than fit, and none when one engine needs more GPUs than "
        "the machine has.",
        "Lower maxWorkers or the engine's parallel sizes, or give the node more GPUs.",
    ),
    Rule(
        "attention-heads",
        _E,
        "tensor_parallel_size divides the number of attention heads",
        "Tensor parallelism gives each GPU whole heads; vLLM refuses to start otherwise.",
        "Write a tensor_parallel_size that divides them.",
    ),
    Rule(
        "memory-unknown",
        _N,
        "the memory the model needs can be computed",
        "config.json describes an architecture whose weights or cache have another form than "
        "Llama's (MLA, state space, experts), so nothing was checked against the GPUs.",
        "Check by loading it once on the hardware it is for.",
    ),
)

RULES: dict[str, Rule] = {rule.id: rule for rule in _ALL}
