"""Handlers for TorchServe workers that serve LLMs with vLLM.

This package runs inside the serving process and travels inside every archive, so that each version
runs its own copy. It never imports tslc, and importing it loads neither torch nor vLLM: the
handler classes come on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tslc_handlers.messages import HandlerError, Request, RequestContext, Response

if TYPE_CHECKING:
    from tslc_handlers.guard_handler import GuardVLLMHandler
    from tslc_handlers.rag_guard_handler import RagGuardVLLMHandler
    from tslc_handlers.rag_handler import RagVLLMHandler
    from tslc_handlers.vllm_handler import VLLMHandler

__all__ = [
    "GuardVLLMHandler",
    "HandlerError",
    "RagGuardVLLMHandler",
    "RagVLLMHandler",
    "Request",
    "RequestContext",
    "Response",
    "VLLMHandler",
]
_MODULES = {
    "GuardVLLMHandler": "guard_handler",
    "RagGuardVLLMHandler": "rag_guard_handler",
    "RagVLLMHandler": "rag_handler",
    "VLLMHandler": "vllm_handler",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"tslc_handlers.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
