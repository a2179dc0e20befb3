"""`GuardVLLMHandler`: Llama Guard before and after the model. Fails closed.

The user's turn is judged while the model begins to answer; nothing of the answer is released before
that verdict, and an unsafe one ends the generation. Of the answer, only what a verdict covers goes
out. Where there is no verdict there is no answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from tslc_handlers import metrics
from tslc_handlers.config import ConfigError
from tslc_handlers.engine import Engine
from tslc_handlers.guard.answers import Said, clean_choice, clean_usage, refused_choice
from tslc_handlers.guard.endpoint import EndpointGuard
from tslc_handlers.guard.errors import with_judged_errors
from tslc_handlers.guard.judge import Judge, NoVerdict, Stage, Verdict
from tslc_handlers.guard.model import GuardModel
from tslc_handlers.guard.policy import (
    INPUT,
    OUTPUT,
    UNNAMED,
    GuardPolicy,
    Mode,
    OnError,
    Violation,
)
from tslc_handlers.guard.prompt import Role, Turn
from tslc_handlers.guard.requests import (
    CHAT,
    GUARDED,
    HARMLESS,
    Asked,
    choices_of,
    for_engine,
    read_request,
)
from tslc_handlers.guard.stream import GuardedStream
from tslc_handlers.messages import JSON, HandlerError, Request, RequestContext, Response
from tslc_handlers.vllm_handler import VLLMHandler

logger = logging.getLogger(__name__)

_STATE = "tslc.guard"
_TOP_LEVEL = ("id", "object", "created", "model", "system_fingerprint", "service_tier")
_CLOSED = Verdict((Violation(UNNAMED, 1.0),))


@dataclass(frozen=True)
class _Guarded:
    """What the hooks of one request hand each other."""

    asked: Asked
    path: str
    choices: int


class GuardVLLMHandler(VLLMHandler):
    """`handler.guard` of the model config is its policy (guard/policy.py)."""

    guarded_fields: ClassVar[frozenset[str]] = frozenset()
    """Fields of requests that a subclass takes beside OpenAI's and vLLM's, and reads itself."""

    def __init__(self) -> None:
        super().__init__()
        self.policy = GuardPolicy()
        self._watching: set[asyncio.Task[None]] = set()

    # --- the two models ----------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def open_engine(self, archive: Path) -> AsyncIterator[Engine]:
        self.policy = GuardPolicy.parse(self.config.guard)
        checked = (*GUARDED, *HARMLESS)
        if wrong := [path for path in self.config.endpoints if path not in checked]:
            raise ConfigError(
                f"endpoints: what {path} generates can't be checked by the guard; take it out"
                for path in wrong
            )
        async with self.open_guard(archive) as guard, super().open_engine(archive) as engine:
            self.judge = Judge(guard, self.policy)
            gone = getattr(guard, "is_dead", lambda: False)
            app = engine.app
            if self.policy.mode is Mode.ENFORCE:
                app = with_judged_errors(app, self.judge)
            yield replace(engine, app=app, is_dead=lambda: engine.is_dead() or gone())

    @contextlib.asynccontextmanager
    async def open_guard(self, archive: Path) -> AsyncIterator[GuardModel]:
        """The guard model: an endpoint's, or an engine of this worker's. A test overrides it."""
        if self.policy.url:
            name = self.policy.api_key_env
            key = os.environ.get(name) if name else None
            if name and not key:
                raise ConfigError([f"handler.guard.api_key_env: the environment has no {name}"])
            endpoint = EndpointGuard(self.policy.url, self.policy.model, key)
            try:
                yield endpoint
            finally:
                await endpoint.close()
            return
        from tslc_handlers.guard.engine import FOLDER, open_guard_engine

        folder = Path(self.prepare_environment(archive), FOLDER)
        if not folder.is_dir():
            raise ConfigError(
                [
                    "no guard model: write `guard: {model: …}` in archive.yaml, or name an "
                    "endpoint in handler.guard.url"
                ]
            )
        policy = self.policy
        async with open_guard_engine(
            folder, policy.vllm_engine_config, policy.environment
        ) as engine:
            yield engine

    # --- before ------------------------------------------------------------------------------

    async def preprocess(self, request: Request, context: RequestContext) -> Request | Response:
        outcome = await super().preprocess(request, context)
        if isinstance(outcome, Response) or outcome.path not in GUARDED:
            return outcome
        if self.policy.mode is Mode.MONITOR:
            self._monitor(outcome, context)
            return outcome
        asked = read_request(outcome.path, outcome.body, self.guarded_fields)
        guarded = _Guarded(asked, outcome.path, choices_of(outcome.body))
        context.state[_STATE] = guarded
        if INPUT in self.policy.stages:
            context.gate = asyncio.create_task(self._gate(guarded, context.request_id))
        return replace(outcome, body=for_engine(outcome.path, outcome.body))

    async def _gate(self, guarded: _Guarded, request_id: str) -> Response | None:
        """What is answered instead, when the request may not be."""
        try:
            verdict = await self._check_input(guarded.asked, request_id)
        except NoVerdict:
            if self.policy.on_error is OnError.UNAVAILABLE:
                message = "the request could not be checked, so it is not answered"
                raise HandlerError(503, message) from None
            verdict = _CLOSED
        if verdict.safe:
            return None
        return self._refusal(guarded, Stage.INPUT, verdict)

    async def _check_input(self, asked: Asked, request_id: str) -> Verdict:
        """Everything the client said, its parts judged at once. Raises NoVerdict."""
        checks = [self.judge.judge(turns, Stage.INPUT, request_id) for turns in asked.checks]
        if asked.beside:
            beside = (Turn(Role.USER, asked.beside),)
            checks.append(self.judge.judge_once(beside, Stage.INPUT, request_id))
        outcomes = await asyncio.gather(*checks, return_exceptions=True)
        unsafe = [one for one in outcomes if isinstance(one, Verdict) and not one.safe]
        if unsafe:
            return Verdict(tuple(v for verdict in unsafe for v in verdict.violations))
        for one in outcomes:
            if isinstance(one, BaseException):
                raise one
        return Verdict()

    # --- after -------------------------------------------------------------------------------

    async def postprocess(self, response: Response, context: RequestContext) -> Response:
        response = await super().postprocess(response, context)
        guarded = self._guarded(context)
        if guarded is None:
            return response
        choices = [clean_choice(choice) for choice in response.body.get("choices") or ()]
        if self.policy.mode is Mode.MONITOR:
            for choice in choices:
                self._watch(self._check_choice(guarded, choice, context.request_id))
            return response
        checks = [self._check_choice(guarded, choice, context.request_id) for choice in choices]
        outcomes = await asyncio.gather(*checks, return_exceptions=True)
        body: JSON = {key: response.body[key] for key in _TOP_LEVEL if key in response.body}
        body["usage"] = clean_usage(response.body.get("usage"))
        kept: list[JSON] = []
        codes: list[str] = []
        for choice, outcome in zip(choices, outcomes, strict=True):
            verdict = self._closed_verdict(outcome)
            if verdict.safe:
                kept.append(choice)
            else:
                codes += verdict.codes
                chat = guarded.path == CHAT
                kept.append(refused_choice(chat, choice["index"], self.policy.refusal))
        body["choices"] = kept
        if codes:
            body["guard"] = {"stage": str(Stage.OUTPUT), "categories": list(dict.fromkeys(codes))}
        return replace(response, body=body)

    def _guarded(self, context: RequestContext) -> _Guarded | None:
        """The request whose answer is to be judged; None for one whose isn't."""
        judged: _Guarded | None = context.state.get(_STATE)
        return judged if OUTPUT in self.policy.stages else None

    def _closed_verdict(self, outcome: Verdict | BaseException) -> Verdict:
        if isinstance(outcome, NoVerdict):
            if self.policy.on_error is OnError.UNAVAILABLE:
                raise HandlerError(503, "the answer could not be checked, so it is not released")
            return _CLOSED
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    async def postprocess_stream(
        self, events: AsyncIterator[JSON], context: RequestContext
    ) -> AsyncIterator[JSON]:
        events = super().postprocess_stream(events, context)
        guarded = self._guarded(context)
        if guarded is None:
            async for event in events:
                yield event
            return
        if self.policy.mode is Mode.MONITOR:
            async for event in self._monitored(events, guarded, context.request_id):
                yield event
            return
        stream = GuardedStream(
            lambda text: self._check_text(guarded, text, context.request_id),
            chat=guarded.path == CHAT,
            window_tokens=self.policy.window_tokens,
            choices=guarded.choices,
            closed=None if self.policy.on_error is OnError.UNAVAILABLE else _CLOSED,
        )
        async with contextlib.aclosing(stream.run(events)) as released:  # type: ignore[type-var]
            async for event in released:
                yield event

    async def _monitored(
        self, events: AsyncIterator[JSON], guarded: _Guarded, request_id: str
    ) -> AsyncIterator[JSON]:
        said: dict[int, Said] = {}
        try:
            async for event in events:
                for choice in event.get("choices") or ():
                    clean = clean_choice(choice)
                    said.setdefault(clean["index"], Said()).take(clean)
                yield event
        finally:  # also when the client leaves
            for one in said.values():
                self._watch(self._check_text(guarded, one.text, request_id))

    async def _check_choice(self, guarded: _Guarded, choice: JSON, request_id: str) -> Verdict:
        said = Said()
        said.take(choice)
        return await self._check_text(guarded, said.text, request_id)

    async def _check_text(self, guarded: _Guarded, text: str, request_id: str) -> Verdict:
        if not text.strip():
            return Verdict()
        return await self.judge.judge(guarded.asked.answered(text), Stage.OUTPUT, request_id)

    # --- refusing and watching ---------------------------------------------------------------

    def _refusal(self, guarded: _Guarded, stage: Stage, verdict: Verdict) -> Response:
        import time
        import uuid

        chat = guarded.path == CHAT
        codes = list(dict.fromkeys(verdict.codes))
        return Response(
            {
                "id": f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}",
                "object": "chat.completion" if chat else "text_completion",
                "created": int(time.time()),
                "model": self.model,
                "choices": [
                    refused_choice(chat, index, self.policy.refusal)
                    for index in range(guarded.choices)
                ],
                "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
                "guard": {"stage": str(stage), "categories": codes},
            }
        )

    def _monitor(self, request: Request, context: RequestContext) -> None:
        """Judge the request and let it through, one that can't be read too."""
        try:
            asked = read_request(request.path, request.body, self.guarded_fields)
        except HandlerError as error:
            metrics.GUARD_VERDICTS.labels(Stage.INPUT, "no_verdict", "none").inc()
            logger.warning("request %s: %s", context.request_id, error)
            asked = Asked(())
        context.state[_STATE] = _Guarded(asked, request.path, 1)
        if INPUT in self.policy.stages:
            self._watch(self._check_input(asked, context.request_id))

    def _watch(self, check: Coroutine[Any, Any, Verdict]) -> None:
        async def noting() -> None:
            with contextlib.suppress(NoVerdict):  # the judge has told
                await check

        task = asyncio.create_task(noting())
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)
