"""Golden prompts asked of a worker: what has to pass before it gets traffic."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tslc.adapters.worker_door import Door
from tslc.domain.golden import GoldenPrompt, judge
from tslc.domain.registration import PromptResult
from tslc.errors import RemoteFailed

_PROMPT_SECONDS = 300.0


def prove(
    doors: Sequence[Door],
    prompts: Sequence[GoldenPrompt],
    served_name: str,
    report: Callable[[str], None] = lambda _: None,
) -> tuple[PromptResult, ...]:
    """Each prompt at each worker; a worker that does not answer has failed it."""
    results = []
    for door in doors:
        for number, prompt in enumerate(prompts, 1):
            report(f"golden prompt {number} of {len(prompts)}: {prompt.name}")
            results.append(_ask(door, prompt, served_name))
    return tuple(results)


def _ask(door: Door, prompt: GoldenPrompt, served_name: str) -> PromptResult:
    seconds = (prompt.expect.within_seconds or 0.0) + _PROMPT_SECONDS
    try:
        reply = door.request(prompt.path, prompt.body(served_name), seconds)
    except RemoteFailed as error:
        return PromptResult(prompt.name, (error.message,), seconds)
    reasons = judge(prompt, reply.status, reply.body, reply.seconds)
    return PromptResult(prompt.name, reasons, reply.seconds)
