"""Which of vLLM's endpoints a version serves.

vLLM's application also has administrative and experimental routes; a deployment serves what is on
this list and nothing else, on either door.
"""

from __future__ import annotations

GET = frozenset({"GET", "HEAD"})
POST = frozenset({"POST"})

# Every endpoint that may be put on a version's list, with its methods.
KNOWN: dict[str, frozenset[str]] = {
    "/v1/chat/completions": POST,
    "/v1/completions": POST,
    "/v1/embeddings": POST,
    "/v1/models": GET,
    "/v1/responses": POST,
    "/v1/messages": POST,
    "/v1/audio/transcriptions": POST,
    "/v1/audio/translations": POST,
    "/v1/rerank": POST,
    "/v1/score": POST,
    "/classify": POST,
    "/pooling": POST,
    "/rerank": POST,
    "/score": POST,
    "/tokenize": POST,
    "/detokenize": POST,
    "/version": GET,
}

DEFAULT = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/models",
    "/tokenize",
    "/detokenize",
    "/version",
)
