"""Verdicts: a conversation and a policy in, what counts against it out. Fails closed.

No answer in time, one that can't be read, a guard that is gone: NoVerdict, and the caller lets
nothing through.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn

from tslc_handlers import metrics
from tslc_handlers.guard.audit import audit
from tslc_handlers.guard.model import ANSWER_TOKENS, CODE_TOKENS, GuardFailed, GuardModel
from tslc_handlers.guard.policy import GuardPolicy, Mode, Violation
from tslc_handlers.guard.prompt import Turn, guard_prompt
from tslc_handlers.guard.reading import Reading, Unreadable, read_answer, read_codes, text_of

_REMEMBERED = 4096

logger = logging.getLogger(__name__)


class Stage(StrEnum):
    """What was judged: what the user said, what the model did, or what retrieval found."""

    INPUT = "input"
    OUTPUT = "output"
    RETRIEVED = "retrieved"


class NoVerdict(Exception):
    """The guard did not judge; nobody knows whether it is safe."""


@dataclass(frozen=True)
class Verdict:
    violations: tuple[Violation, ...] = ()

    @property
    def safe(self) -> bool:
        return not self.violations

    @property
    def codes(self) -> tuple[str, ...]:
        return tuple(one.code for one in self.violations)


class Judge:
    """Asks `model` what it thinks, under `policy`."""

    def __init__(self, model: GuardModel, policy: GuardPolicy) -> None:
        self.policy = policy
        self._model = model
        self._remembered: OrderedDict[str, Verdict] = OrderedDict()

    async def judge(self, turns: Sequence[Turn], stage: Stage, request_id: str) -> Verdict:
        """The verdict on the last turn. Raises NoVerdict."""
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self.policy.timeout_seconds):
                reading = await self._read(guard_prompt(turns, self.policy.categories))
        except TimeoutError:
            self._failed(stage, f"no verdict within {self.policy.timeout_seconds:g} s")
        except (GuardFailed, Unreadable, ValueError) as error:
            self._failed(stage, str(error))
        metrics.GUARD_SECONDS.labels(stage).observe(time.perf_counter() - started)
        verdict = Verdict(self.policy.violations(reading))
        self._tell(verdict, turns[-1].text, stage, request_id)
        return verdict

    async def judge_once(self, turns: Sequence[Turn], stage: Stage, request_id: str) -> Verdict:
        """A verdict on what many requests have in common, remembered. Raises NoVerdict.

        One against it is told again for every request.
        """
        said = "\0".join(f"{turn.role}\0{turn.text}" for turn in turns)
        digest = hashlib.sha256(f"{stage}\0{said}".encode(errors="surrogatepass")).hexdigest()
        if digest in self._remembered:
            self._remembered.move_to_end(digest)
            verdict = self._remembered[digest]
            if not verdict.safe:
                self._tell(verdict, turns[-1].text, stage, request_id)
            return verdict
        verdict = await self.judge(turns, stage, request_id)
        self._remembered[digest] = verdict
        while len(self._remembered) > _REMEMBERED:
            self._remembered.popitem(last=False)
        return verdict

    def _tell(self, verdict: Verdict, text: str, stage: Stage, request_id: str) -> None:
        decision = "pass" if verdict.safe else "block"
        if not verdict.safe and self.policy.mode is Mode.MONITOR:
            decision = "monitor"
        for code in verdict.codes or ("none",):
            metrics.GUARD_VERDICTS.labels(stage, decision, code).inc()
        if not verdict.safe:
            audit(stage, decision, verdict.violations, text, request_id, self.policy.audit_text)

    async def _read(self, prompt: str) -> Reading:
        reading = read_answer(await self._model.complete(prompt, ANSWER_TOKENS), ANSWER_TOKENS)
        if not self.policy.wants_codes(reading):
            return reading
        # It said "safe" with little certainty: what would it have named?
        tokens = await self._model.complete(f"{prompt}\n\nunsafe\n", CODE_TOKENS)
        codes, more = read_codes(tokens, text_of(tokens), CODE_TOKENS)
        return Reading(unsafe=more, score=reading.score, codes=codes, more=more)

    def _failed(self, stage: Stage, reason: str) -> NoReturn:
        metrics.GUARD_VERDICTS.labels(stage, "no_verdict", "none").inc()
        logger.error("no verdict on the %s: %s", stage, reason)
        raise NoVerdict(reason) from None
