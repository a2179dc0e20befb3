"""The handler of archives/support-bot with a model that can be made to say something unsafe.

Which text is forced stands in the request's header `x-forced`; it reaches the engine after the
request was judged, so that only the judgement of the answer is between it and the client.
"""

from __future__ import annotations

from dataclasses import replace

from tslc_handlers import RagGuardVLLMHandler, Request, RequestContext, Response


class ForcedBot(RagGuardVLLMHandler):
    async def preprocess(self, request: Request, context: RequestContext) -> Request | Response:
        outcome = await super().preprocess(request, context)
        text = request.headers.get("x-forced")
        if isinstance(outcome, Response) or text is None:
            return outcome
        forced = {"structured_outputs": {"choice": [text]}, "max_tokens": 128}
        return replace(outcome, body={**outcome.body, **forced})
