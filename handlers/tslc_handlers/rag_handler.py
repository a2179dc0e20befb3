"""`RagVLLMHandler`: passages of the archive's knowledge base before the model, sources after it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from tslc_handlers import metrics
from tslc_handlers.asgi import call
from tslc_handlers.engine import Engine
from tslc_handlers.messages import JSON, HandlerError, Request, RequestContext, Response, encode
from tslc_handlers.rag.open import open_retriever
from tslc_handlers.rag.passages import Hit, Query, RetrievalFailed, Retriever
from tslc_handlers.rag.prompt import (
    frame,
    passage_text,
    query_of,
    sources_of,
    with_passages,
    within_budget,
)
from tslc_handlers.rag.settings import RagSettings
from tslc_handlers.vllm_handler import VLLMHandler

logger = logging.getLogger(__name__)

CHAT = "/v1/chat/completions"
_STATE = "tslc.sources"
_SEARCHES_AT_ONCE = 4
_REMEMBERED = 10_000
# Where two texts meet, a token may become two.
_SEAM_TOKENS = 4
# What the engine's count of a conversation depends on, beside the messages.
_COUNTED = ("messages", "tools", "chat_template", "chat_template_kwargs")


class RagVLLMHandler(VLLMHandler):
    """`handler.rag` of the model config says how much is retrieved (rag/settings.py).

    Chat completions are augmented; other endpoints pass as they are.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rag = RagSettings()
        self._tokens_of: dict[str, int] = {}

    @contextlib.asynccontextmanager
    async def open_engine(self, archive: Path) -> AsyncIterator[Engine]:
        self.rag = RagSettings.parse(self.config.rag)
        self.retriever: Retriever = open_retriever(archive, self.rag, os.environ)
        # Searches compute and wait: on threads of their own they don't hold up the event loop.
        self._searching = ThreadPoolExecutor(_SEARCHES_AT_ONCE, "retrieval")
        try:
            async with super().open_engine(archive) as engine:
                yield engine
        finally:
            self._searching.shutdown(wait=False, cancel_futures=True)
            self.retriever.close()

    async def preprocess(self, request: Request, context: RequestContext) -> Request | Response:
        outcome = await super().preprocess(request, context)
        if isinstance(outcome, Response) or outcome.path != CHAT:
            return outcome
        query = query_of(outcome.body.get("messages"))
        if query is None:
            return outcome
        hits = await self.usable(await self._search(query), context)
        kept = await self._fitting(hits, outcome.body)
        context.state[_STATE] = sources_of(kept)
        if not kept:
            return outcome
        messages = with_passages(outcome.body["messages"], kept, self.rag.instructions)
        return replace(outcome, body={**outcome.body, "messages": messages})

    async def usable(self, hits: Sequence[Hit], context: RequestContext) -> Sequence[Hit]:
        """The passages that may stand in a prompt. A subclass may leave some out."""
        return hits

    async def postprocess(self, response: Response, context: RequestContext) -> Response:
        response = await super().postprocess(response, context)
        sources = context.state.get(_STATE)
        if sources and not _refused(response.body):
            response.body["sources"] = sources
        return response

    async def postprocess_stream(
        self, events: AsyncIterator[JSON], context: RequestContext
    ) -> AsyncIterator[JSON]:
        sources = context.state.get(_STATE)
        inner = super().postprocess_stream(events, context)
        async with contextlib.aclosing(inner) as told:  # type: ignore[type-var]
            async for event in told:
                if sources and not _refused(event):
                    event = {**event, "sources": sources}
                    sources = None  # with the first chunk, once
                yield event

    # --- searching and fitting ---------------------------------------------------------------

    async def _search(self, query: Query) -> Sequence[Hit]:
        started = time.perf_counter()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.rag.timeout_seconds):
                return await loop.run_in_executor(
                    self._searching, self.retriever.search, query, self.rag.top_k
                )
        except (RetrievalFailed, TimeoutError) as error:
            logger.error("retrieval failed: %s", error or "no answer in time")
            raise HandlerError(503, "the knowledge base can't be searched now") from error
        finally:
            metrics.RETRIEVAL_SECONDS.observe(time.perf_counter() - started)

    async def _fitting(self, hits: Sequence[Hit], body: JSON) -> list[Hit]:
        """The passages that fit beside the conversation and its answer, best first."""
        if not hits:
            return []
        counted = await self._count({key: body.get(key) for key in _COUNTED})
        around = await self._tokens(frame(self.rag.instructions))
        if counted is None or around is None:  # the engine will word what is wrong
            return []
        tokens, longest = counted
        asked = body.get("max_completion_tokens") or body.get("max_tokens")
        answer = asked if isinstance(asked, int) else self.rag.answer_tokens
        room = longest - tokens - answer - around - _SEAM_TOKENS
        sized = [(hit, await self._tokens(passage_text(hit))) for hit in hits]
        known = ((hit, size + 1) for hit, size in sized if size is not None)
        return within_budget(known, min(room, self.rag.token_budget))

    async def _tokens(self, text: str) -> int | None:
        """How many tokens a text of the archive's is; counted once."""
        if text not in self._tokens_of:
            counted = await self._count({"prompt": text, "add_special_tokens": False})
            if counted is None:
                return None
            if len(self._tokens_of) >= _REMEMBERED:
                self._tokens_of.clear()
            self._tokens_of[text] = counted[0]
        return self._tokens_of[text]

    async def _count(self, body: JSON) -> tuple[int, int] | None:
        """Tokens as the engine counts them, and the most it takes; None when it refuses."""
        body = {key: value for key, value in body.items() if value is not None}
        status, answer = await call(self.engine.app, "POST", "/tokenize", encode(body))
        if status != 200:
            return None
        told = json.loads(answer)
        return int(told.get("count", len(told["tokens"]))), int(told.get("max_model_len", 2**31))


def _refused(body: JSON) -> bool:
    """Whether everything in it was withheld; then it has no sources."""
    reasons = [choice.get("finish_reason") for choice in body.get("choices") or ()]
    return not reasons or all(reason == "content_filter" for reason in reasons)
