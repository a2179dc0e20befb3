"""Handlers for TorchServe workers that serve LLMs with vLLM.

This package runs inside the serving process and travels inside every archive, so that each version
runs its own copy. It never imports tslc, and importing it loads neither torch nor vLLM: the
handler classes come on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tslc_handlers.messages import HandlerError, Request, RequestContext, Response

if TYPE_CHECKING:
    from tslc_handlers.vllm_handler import VLLMHandler

__all__ = ["HandlerError", "Request", "RequestContext", "Response", "VLLMHandler"]


def __getattr__(name: str) -> Any:
    if name == "VLLMHandler":
        from tslc_handlers.vllm_handler import VLLMHandler

        return VLLMHandler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
