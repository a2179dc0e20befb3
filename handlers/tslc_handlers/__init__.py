"""Handlers for TorchServe workers that serve LLMs with vLLM.

This package runs inside the serving process and travels inside every archive, so that each version
runs its own copy. It never imports tslc.
"""

from tslc_handlers.vllm_handler import VLLMHandler

__all__ = ["VLLMHandler"]
