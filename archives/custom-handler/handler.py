from tslc_handlers import HandlerError, Request, RequestContext, Response, VLLMHandler


class ShortAnswers(VLLMHandler):
    """Answers are at most 64 tokens long; whoever asks for more than 256 gets an error."""

    async def preprocess(self, request: Request, context: RequestContext) -> Request | Response:
        asked = request.body.get("max_tokens") or 64
        if asked > 256:
            raise HandlerError(400, "at most 256 tokens an answer")
        request.body["max_tokens"] = min(asked, 64)
        return request
