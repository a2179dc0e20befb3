"""`RagGuardVLLMHandler`: retrieval before, the guard around. The guard sees what the user sees.

The user's own words are judged, not the prompt that retrieval made of them; and each passage by
itself, once, before it may stand in a prompt: a poisoned document is left out, whoever asks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from tslc_handlers.guard.judge import NoVerdict, Stage
from tslc_handlers.guard.policy import Mode
from tslc_handlers.guard.prompt import Role, Turn
from tslc_handlers.guard_handler import GuardVLLMHandler
from tslc_handlers.messages import RequestContext
from tslc_handlers.rag.passages import Hit
from tslc_handlers.rag_handler import RagVLLMHandler

logger = logging.getLogger(__name__)


class RagGuardVLLMHandler(RagVLLMHandler, GuardVLLMHandler):
    """The hooks of both: the guard's before retrieval on the way in and before the sources out."""

    async def usable(self, hits: Sequence[Hit], context: RequestContext) -> Sequence[Hit]:
        good = await asyncio.gather(*(self._is_usable(hit, context) for hit in hits))
        return [hit for hit, usable in zip(hits, good, strict=True) if usable]

    async def _is_usable(self, hit: Hit, context: RequestContext) -> bool:
        turn = Turn(Role.USER, f"{hit.passage.title}\n{hit.passage.text}")
        try:
            verdict = await self.judge.judge_once((turn,), Stage.RETRIEVED, context.request_id)
        except NoVerdict:
            return self.policy.mode is Mode.MONITOR
        if not verdict.safe:
            logger.warning("passage %s: the guard names %s", hit.passage.id, verdict.codes)
        return verdict.safe or self.policy.mode is Mode.MONITOR
