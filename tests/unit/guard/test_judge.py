"""Verdicts and their absence, of a guard that answers what the test has it answer."""

import asyncio
import json
import logging
import math

import pytest

from tslc_handlers.guard.judge import Judge, NoVerdict, Stage, Verdict
from tslc_handlers.guard.model import GuardFailed
from tslc_handlers.guard.policy import UNNAMED, GuardPolicy
from tslc_handlers.guard.prompt import Role, Turn
from tslc_handlers.guard.reading import Token
from tslc_handlers.messages import RequestContext
from tslc_handlers.rag.passages import Hit, Passage
from tslc_handlers.rag_guard_handler import RagGuardVLLMHandler

USER = (Turn(Role.USER, "a question"),)


class Scripted:
    """A guard that gives these answers in turn (an exception is raised), and the last for ever."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.prompts = []

    async def complete(self, prompt, max_tokens):
        self.prompts.append(prompt)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def said(text, unsafe=None):
    """An answer of one token a line; `unsafe` is the probability of that word."""
    first, *rest = text.splitlines(keepends=True)
    sure = float(first.strip() == "unsafe") if unsafe is None else unsafe
    both = {"unsafe": sure, "safe": 1 - sure}
    top = {word: math.log(p) for word, p in both.items() if p}
    return [Token(first, top), *(Token(one, {}) for one in rest)]


def judge_of(*answers, **section):
    return Judge(Scripted(*answers), GuardPolicy.parse(section))


async def codes_of(judge):
    return (await judge.judge(USER, Stage.INPUT, "r")).codes


async def test_a_verdict_names_what_counts():
    assert await codes_of(judge_of(said("safe"))) == ()
    assert await codes_of(judge_of(said("unsafe\nS1,S9"))) == ("S1", "S9")
    assert await codes_of(judge_of(said("unsafe"))) == (UNNAMED,)


@pytest.mark.parametrize(
    "answer", [GuardFailed("gone"), ValueError("odd"), [], said("maybe"), said("safe\nS1")]
)
async def test_what_is_no_answer_is_no_verdict(answer):
    with pytest.raises(NoVerdict):
        await codes_of(judge_of(answer))


async def test_an_answer_that_comes_too_late_is_no_verdict():
    class Slow:
        async def complete(self, prompt, max_tokens):
            await asyncio.Event().wait()

    with pytest.raises(NoVerdict):
        await codes_of(Judge(Slow(), GuardPolicy(timeout_seconds=0.01)))


async def test_a_low_threshold_asks_a_hesitant_safe_for_its_categories():
    section = {"categories": {"S1": {"threshold": 0.1}}}
    judge = judge_of(said("safe", unsafe=0.2), said("S1"), **section)
    assert await codes_of(judge) == ("S1",)
    assert judge._model.prompts[1] == f"{judge._model.prompts[0]}\n\nunsafe\n"
    assert await codes_of(judge_of(said("safe", unsafe=0.2), said("S2"), **section)) == ()
    assert await codes_of(judge_of(said("safe", unsafe=0.05), **section)) == ()
    assert await codes_of(judge_of(said("safe", unsafe=0.2), said("well"), **section)) == (UNNAMED,)
    with pytest.raises(NoVerdict):
        await codes_of(judge_of(said("safe", unsafe=0.2), GuardFailed("gone"), **section))


async def test_what_was_judged_once_is_not_asked_again_but_told_again(caplog):
    caplog.set_level(logging.WARNING, "tslc_handlers.audit")
    judge = judge_of(said("unsafe\nS1"))
    verdicts = [await judge.judge_once(USER, Stage.INPUT, f"r{i}") for i in range(3)]
    assert {one.codes for one in verdicts} == {("S1",)}
    assert len(judge._model.prompts) == 1
    told = [json.loads(one.message)["request_id"] for one in caplog.records]
    assert told == ["r0", "r1", "r2"]


async def test_no_verdict_is_not_remembered():
    judge = judge_of(GuardFailed("gone"), said("safe"))
    with pytest.raises(NoVerdict):
        await judge.judge_once(USER, Stage.INPUT, "r")
    assert await judge.judge_once(USER, Stage.INPUT, "r") == Verdict()


# --- passages --------------------------------------------------------------------------------


class Poisonless(Scripted):
    """Calls unsafe what holds the word poison; fails for what holds the word odd."""

    async def complete(self, prompt, max_tokens):
        self.prompts.append(prompt)
        if "odd" in prompt.split("<BEGIN CONVERSATION>")[1]:
            raise GuardFailed("it stumbled")
        return said("unsafe\nS2" if "poison" in prompt else "safe")


def hit(number, text, title="a title"):
    return Hit(Passage(number, str(number), "a.md", title, text), 1.0)


@pytest.mark.parametrize(("mode", "usable"), [("enforce", [0, 3]), ("monitor", [0, 1, 2, 3, 4])])
async def test_a_passage_that_is_not_called_safe_is_left_out_whoever_asks(mode, usable):
    handler = RagGuardVLLMHandler()
    handler.policy = GuardPolicy.parse({"mode": mode})
    handler.judge = Judge(Poisonless(), handler.policy)
    hits = [hit(0, "a"), hit(1, "poison"), hit(2, "odd"), hit(3, "b"), hit(4, "c", "poison")]
    context = RequestContext("m", "1", "r", "direct")
    for _ in range(2):
        got = await handler.usable(hits, context)
        assert [one.passage.number for one in got] == usable
