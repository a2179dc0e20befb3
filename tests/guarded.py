"""A guarded handler of the tiny engine with its door open, and what its clients get."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import defaultdict
from types import SimpleNamespace

import pytest
from tiny_guard import TinyEngine

from doors import opened
from tslc_handlers.guard.requests import GUARDED
from tslc_handlers.guard_handler import GuardVLLMHandler

CHAT, TEXT = GUARDED
BAD = "boom"
SAFE_TEXT = "one two three four five six "
BAD_TEXT = f"one two three four {BAD} six seven eight "


class Guarded(GuardVLLMHandler, TinyEngine):
    guarded_fields = frozenset({"tiny"})


@contextlib.asynccontextmanager
async def serving(tmp_path, monkeypatch, guard, endpoints=None, **policy):
    section = {"guard": {"url": guard.url, "window_tokens": 2, **policy}}
    section |= {"endpoints": endpoints} if endpoints else {}
    handler = Guarded()
    async with opened(handler, section, tmp_path, monkeypatch) as client:
        yield SimpleNamespace(handler=handler, client=client, tiny=handler.tiny, guard=guard)


def ask(path, *say, asked="a question", **more):
    tiny = {"say": list(say) or [SAFE_TEXT], **more.pop("tiny", {})}
    said = {"messages": [{"role": "user", "content": asked}]} if path == CHAT else {"prompt": asked}
    return {**said, "tiny": tiny, **more}


def events_of(answer):
    lines = answer.text.split("\n\n")
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


def choices_of(answer):
    """Of a whole answer or of a stream: the texts of each choice, together, and its end."""
    found = defaultdict(lambda: ["", None])
    streamed = answer.headers["content-type"].startswith("text/event-stream")
    for event in events_of(answer) if streamed else [answer.json()]:
        for choice in event.get("choices", ()):
            one = found[choice["index"]]
            said = choice.get("delta") or choice.get("message") or {}
            calls = [call["function"] for call in said.get("tool_calls", ())]
            one[0] += "".join(
                [choice.get("text") or "", said.get("content") or "", said.get("reasoning") or ""]
                + [call.get("name", "") + call.get("arguments", "") for call in calls]
            )
            one[1] = choice["finish_reason"] or one[1]
    return {index: tuple(one) for index, one in sorted(found.items())}


async def until(condition, seconds=5.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def count_of(stage, decision, category):
    from prometheus_client import REGISTRY

    labels = {"stage": stage, "decision": decision, "category": category}
    return REGISTRY.get_sample_value("tslc_guard_verdicts_total", labels) or 0


each_path = pytest.mark.parametrize("path", GUARDED)
each_kind = pytest.mark.parametrize("stream", [False, True])
