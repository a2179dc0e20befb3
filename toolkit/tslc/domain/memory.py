"""How much memory a model's weights and its KV cache take, from its config.json.

Known: decoder-only transformers with the attention of Llama (multi-head or grouped-query), dense
feed-forward layers and weights of one size; that is Llama, Mistral, Qwen, Gemma, SmolLM and their
kin. Refused (None, never a guess): latent attention (MLA), state-space and linear layers, whose
cache has another form. Sliding windows are counted as full attention, which is an upper bound.

Units: bytes, tokens. GiB = 2**30 bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tslc.domain.gpus import GIB

# Memory of one GPU that is neither weights nor KV cache: activations while prompts are read, CUDA
# graphs, the libraries' own. vLLM's profiler printed 3.1 GiB for Llama 3 8B on an H100, 4.8 GiB
# on each of two (vllm-project/vllm#10511), and 0.6 GiB a card on RTX 4090s (#14447). Taken low,
# so that what is called too much is too much.
OVERHEAD_BYTES = int(1.0 * GIB)

_DTYPE_BYTES = {
    "float32": 4.0,
    "float": 4.0,
    "bfloat16": 2.0,
    "float16": 2.0,
    "half": 2.0,
    "int8": 1.0,
    "nvfp4": 0.5,
    "int4_per_token_head": 0.5,
}
_FORMS_WITH_ANOTHER_CACHE = ("kv_lora_rank", "ssm_cfg", "mamba_d_state", "linear_num_key_heads")


@dataclass(frozen=True)
class Quantization:
    """`method` as config.json names it; `bits` a weight, of the linear layers."""

    method: str
    bits: float


@dataclass(frozen=True)
class Architecture:
    """The numbers of config.json that decide how much memory is needed."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    max_position_embeddings: int
    dtype: str
    tied_embeddings: bool
    dense: bool
    quantization: Quantization | None = None


@dataclass(frozen=True)
class WeightsFacts:
    """What is known of a weights folder.

    `architecture` is None when config.json describes one that is not known here; `file_bytes` is
    the size of all safetensors, None when there are none.
    """

    architecture: Architecture | None
    file_bytes: int | None
    name: str = "the weights"


def read_architecture(config: Mapping[str, object]) -> Architecture | None:
    """The architecture a config.json describes (the text model's, of a multi-modal one)."""
    text = config.get("text_config")
    merged = {**config, **text} if isinstance(text, Mapping) else dict(config)
    if any(merged.get(key) is not None for key in _FORMS_WITH_ANOTHER_CACHE):
        return None
    kinds = merged.get("layer_types")
    if isinstance(kinds, list) and any(
        "attention" not in str(k) or k == "linear_attention" for k in kinds
    ):
        return None
    hidden, heads = _count(merged, "hidden_size"), _count(merged, "num_attention_heads")
    layers = _count(merged, "num_hidden_layers")
    if not (hidden and heads and layers):
        return None
    return Architecture(
        hidden_size=hidden,
        intermediate_size=_count(merged, "intermediate_size") or 4 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=_count(merged, "num_key_value_heads") or heads,
        head_dim=_count(merged, "head_dim") or hidden // heads,
        vocab_size=_count(merged, "vocab_size") or 0,
        max_position_embeddings=_count(merged, "max_position_embeddings") or 0,
        dtype=str(merged.get("dtype") or merged.get("torch_dtype") or "bfloat16"),
        tied_embeddings=merged.get("tie_word_embeddings") is True,
        dense=not any("expert" in key and value for key, value in merged.items()),
        quantization=_quantization(merged.get("quantization_config")),
    )


def _count(config: Mapping[str, object], key: str) -> int | None:
    value = config.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _quantization(section: object) -> Quantization | None:
    """Bits a weight of config.json's quantization_config: `bits` (AWQ, GPTQ), `num_bits` of
    compressed-tensors' first group, or what the method's name says."""
    if not isinstance(section, Mapping):
        return None
    method = str(section.get("quant_method") or "unknown")
    bits = section.get("bits")
    groups = section.get("config_groups")
    if bits is None and isinstance(groups, Mapping):
        weights = [g.get("weights") for g in groups.values() if isinstance(g, Mapping)]
        named = [w.get("num_bits") for w in weights if isinstance(w, Mapping)]
        bits = named[0] if named else None
    if bits is None:
        bits = quantized_bits(method)
    return Quantization(method, float(bits)) if isinstance(bits, int | float) and bits > 0 else None


def quantized_bits(method: str) -> float | None:
    """Bits a weight of a quantisation named as vLLM names it; None when the name says nothing."""
    name = method.lower()
    if any(word in name for word in ("fp4", "int4", "awq", "gptq", "bnb_4bit")):
        return 4.0
    return 8.0 if any(word in name for word in ("fp8", "int8", "mxfp8")) else None


def dtype_bytes(dtype: str) -> float | None:
    """Bytes of one number; any 8-bit float counts as one byte. None for a name not known."""
    name = dtype.removeprefix("torch.")
    if name in _DTYPE_BYTES:
        return _DTYPE_BYTES[name]
    return 1.0 if name.startswith(("fp8", "float8", "int8")) else None


def embedding_parameters(a: Architecture) -> int:
    """V·H for the input embedding and as much for the output head unless they are tied."""
    return a.vocab_size * a.hidden_size * (1 if a.tied_embeddings else 2)


def parameters(a: Architecture) -> int:
    """Number of parameters of a dense Llama-like model, biases aside.

    embeddings + L·(2·H·A·D + 2·H·K·D + 3·H·I + 2·H) + H, with L layers, H hidden size, A heads,
    K key-value heads, D head size, I intermediate size: q and o, k and v, the three matrices of
    the feed-forward part, two norms a layer and a last one. Source: the modules of LlamaForCausalLM
    in transformers. Llama 3.1 8B gives 8,030,261,248, the number on its model card.
    """
    attention = 2 * a.hidden_size * a.head_dim * (a.num_attention_heads + a.num_key_value_heads)
    feed_forward = 3 * a.hidden_size * a.intermediate_size
    layer = attention + feed_forward + 2 * a.hidden_size
    return embedding_parameters(a) + a.num_hidden_layers * layer + a.hidden_size


def weights_bytes(
    facts: WeightsFacts, *, dtype: str = "auto", bits: float | None = None
) -> int | None:
    """Bytes of the weights once loaded, on all GPUs together; None when they can't be known.

    The files' size, where they are there; otherwise P·b of the formula above. `dtype` other than
    the files' own scales it; `bits` is a quantisation done while loading (vLLM's `quantization:
    fp8`), of the linear layers only: embeddings keep their type.
    """
    a = facts.architecture
    if a is None:
        return facts.file_bytes
    own = dtype_bytes(a.dtype)
    wanted = own if dtype == "auto" else dtype_bytes(dtype)
    if own is None or wanted is None:
        return facts.file_bytes
    if a.quantization is not None:
        return facts.file_bytes or _quantized(a, a.quantization.bits, wanted)
    if bits is not None and a.dense:
        return _quantized(a, bits, wanted)
    if facts.file_bytes is not None:
        return int(facts.file_bytes * wanted / own)
    return int(parameters(a) * wanted) if a.dense else None


def _quantized(a: Architecture, bits: float, embedding_bytes: float) -> int | None:
    """Linear layers at `bits`, and under 8 bits a scale and zero point for each 128 weights
    ((16 + 4) / 128 bits more: the group size of AWQ and GPTQ); embeddings at their own type."""
    if not a.dense:
        return None
    kept = embedding_parameters(a)
    each = bits + (20 / 128 if bits < 8 else 0)
    return int((parameters(a) - kept) * each / 8 + kept * embedding_bytes)


def kv_bytes_per_token(
    a: Architecture, *, cache_dtype: str = "auto", dtype: str = "auto"
) -> int | None:
    """Bytes one token of context takes, on all GPUs together: 2·L·K·D·b.

    A key and a value (2) in each of L layers, for K key-value heads of D numbers of b bytes.
    Source: the paged attention paper (arXiv 2309.06180, section 3); Llama 3.1 8B in bfloat16:
    2·32·8·128·2 = 131,072.
    """
    model_dtype = a.dtype if dtype == "auto" else dtype
    size = dtype_bytes(model_dtype if cache_dtype == "auto" else cache_dtype)
    if size is None:
        return None
    return int(2 * a.num_hidden_layers * a.num_key_value_heads * a.head_dim * size)


def kv_bytes_per_token_per_gpu(
    a: Architecture, per_token: int, *, tensor_parallel: int, pipeline_parallel: int = 1
) -> float:
    """The share of `per_token` each GPU holds. Heads are split among the GPUs and never divided:
    past K GPUs they are copied, so max(1, K/tp) heads each. Layers are split by the pipeline."""
    heads = max(1.0, a.num_key_value_heads / tensor_parallel)
    return per_token * heads / a.num_key_value_heads / pipeline_parallel


def kv_room(*, gpu_memory: int, utilization: float, weights: int, gpus: int) -> int:
    """Bytes left for the KV cache on one GPU: M·u - W/n - overhead, with M bytes a card, u the
    engine's share (gpu_memory_utilization), W bytes of weights split among n cards (tensor times
    pipeline parallel). Negative when the weights alone don't fit. Source: vLLM's
    determine_available_memory."""
    return int(gpu_memory * utilization - weights / gpus - OVERHEAD_BYTES)
