"""What a client gets of a guarded stream, however it is cut, judged late, or not judged at all."""

import asyncio
import contextlib
import itertools
from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from tslc_handlers.guard.judge import NoVerdict, Verdict
from tslc_handlers.guard.policy import Violation
from tslc_handlers.guard.prompt import joined
from tslc_handlers.guard.stream import GuardedStream
from tslc_handlers.guard.windows import Window
from tslc_handlers.messages import HandlerError

MARKER = "b\U0001f4a3m"
BAD = Verdict((Violation("S9", 0.9),))
CHANNELS = ("content", "reasoning", "arguments", "logprobs")
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


def as_units(text):
    """The text in UTF-16's units: what a stream may cut it into."""
    raw = text.encode("utf-16-le", "surrogatepass")
    return [raw[i : i + 2].decode("utf-16-le", "surrogatepass") for i in range(0, len(raw), 2)]


@st.composite
def pieces(draw, safe):
    """A channel's text, with the marker in it or not, in pieces."""
    words = st.text("ab m\nü\U0001f4a3\U0001f600", max_size=12)
    text = draw(words.filter(lambda word: MARKER not in word))
    if not safe:
        text += MARKER + draw(words)
    units = as_units(text)
    cuts = sorted(draw(st.sets(st.integers(0, len(units)), max_size=8)) | {0, len(units)})
    if draw(st.booleans()):
        cuts = list(range(len(units) + 1))
    return ["".join(units[a:b]) for a, b in itertools.pairwise(cuts)]


def chunk(channel, text):
    match channel:
        case "arguments":
            return {"delta": {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}}
        case "logprobs":
            token = {"token": text, "logprob": -1, "bytes": None}
            return {"delta": {}, "logprobs": {"content": [token]}}
    return {"delta": {channel: text}}


@st.composite
def choice_chunks(draw, safe=None):
    """The chunks of one choice: texts on several channels, interleaved, and the end."""
    marked = draw(st.sampled_from((None, *CHANNELS))) if safe is None else None
    lines = {channel: draw(pieces(channel != marked)) for channel in CHANNELS}
    order = draw(st.permutations([name for name, line in lines.items() for _ in line]))
    rest = {name: iter(line) for name, line in lines.items()}
    chunks = [chunk(name, next(rest[name])) for name in order]
    ends = {"delta": {}, "finish_reason": "stop"}
    first = {"delta": {"role": "assistant", "content": ""}}
    return [first, *chunks, ends]


def text_by_channel(chunks):
    said = defaultdict(str)
    for one in chunks:
        delta = one.get("delta") or {}
        for name in ("content", "reasoning"):
            said[name] += delta.get(name) or ""
        for call in delta.get("tool_calls") or ():
            said["arguments"] += call["function"].get("arguments", "")
        for token in (one.get("logprobs") or {}).get("content") or ():
            said["logprobs"] += token["token"]
    return {name: text for name, text in said.items() if text}


def is_bad(text):
    return MARKER in joined(text)


@st.composite
def streams(draw, safe=None):
    """Events of one to four choices, interleaved, and the counts at the end."""
    choices = draw(st.lists(choice_chunks(safe), min_size=1, max_size=4))
    order = draw(st.permutations([i for i, one in enumerate(choices) for _ in one]))
    rest = [iter(one) for one in choices]
    events = [{"id": "x", "choices": [{"index": i, **next(rest[i])}]} for i in order]
    return choices, [*events, {"id": "x", "choices": [], "usage": USAGE}]


class Guard:
    """Judges by the marker; how long it takes and whether it judges at all is drawn."""

    def __init__(self, delays, failing=()):
        self._delays = iter(delays)
        self._failing = set(failing)
        self._asked = 0
        self.covered = []

    async def __call__(self, text):
        number, self._asked = self._asked, self._asked + 1
        for _ in range(next(self._delays, 0)):
            await asyncio.sleep(0)  # another turn of the loop
        if number in self._failing:
            raise NoVerdict("not judged") if number % 2 else RuntimeError("a guard that breaks")
        self.covered.append(text)
        return BAD if is_bad(text) else Verdict()


async def run(events, guard, choices, window, pace, closed=None):
    """What went out, and what it ended with."""

    async def engine():
        waits = iter(pace)
        for event in events:
            for _ in range(next(waits, 0)):
                await asyncio.sleep(0)
            yield event

    stream = GuardedStream(guard, chat=True, window_tokens=window, choices=choices, closed=closed)
    out, error = [], None
    async with contextlib.aclosing(engine()) as source:
        try:
            async for event in stream.run(source):
                out.append(event)
        except (HandlerError, RuntimeError) as raised:
            error = raised
    return out, error


def by_choice(out):
    got = defaultdict(list)
    for event in out:
        for one in event["choices"]:
            got[one["index"]].append(one)
    return got


turns = st.lists(st.integers(0, 6), max_size=40)
windows = st.integers(1, 12)


@settings(max_examples=150, deadline=None)
@given(streams(), windows, turns, turns)
def test_no_choice_ever_lets_out_what_the_guard_calls_unsafe(stream, window, delays, pace):
    choices, events = stream
    out, error = asyncio.run(run(events, Guard(delays), len(choices), window, pace))
    assert error is None
    got = by_choice(out)
    for index, chunks in enumerate(choices):
        whole, released = text_by_channel(chunks), text_by_channel(got[index])
        assert not any(is_bad(text) for text in released.values())
        assert all(whole[name].startswith(text) for name, text in released.items())
        reasons = [one["finish_reason"] for one in got[index] if one["finish_reason"]]
        bad = any(is_bad(text) for text in whole.values())
        assert reasons == ["content_filter" if bad else "stop"]
        assert bad or released == whole


@settings(max_examples=60, deadline=None)
@given(streams(safe=True), windows, turns, turns)
def test_nothing_of_a_safe_stream_is_lost(stream, window, delays, pace):
    choices, events = stream
    out, error = asyncio.run(run(events, Guard(delays), len(choices), window, pace))
    assert error is None
    assert out[-1]["usage"] == USAGE
    for index, chunks in enumerate(choices):
        released = by_choice(out)[index]
        assert len(released) == len(chunks)
        assert text_by_channel(released) == text_by_channel(chunks)
        assert released[-1]["finish_reason"] == "stop"


@settings(max_examples=150, deadline=None)
@given(streams(), windows, turns, turns, st.sets(st.integers(0, 8), min_size=1), st.booleans())
def test_without_a_verdict_nothing_unchecked_goes_out(
    stream, window, delays, pace, failing, refuse
):
    choices, events = stream
    guard = Guard(delays, failing)
    closed = BAD if refuse else None
    out, error = asyncio.run(run(events, guard, len(choices), window, pace, closed))
    for released in by_choice(out).values():
        for text in text_by_channel(released).values():
            assert not is_bad(text)
            assert any(joined(text) in asked for asked in guard.covered)
    if guard._asked > min(failing) and not refuse:
        assert isinstance(error, HandlerError | RuntimeError)


@settings(max_examples=150, deadline=None)
@given(choice_chunks(), windows, st.lists(st.booleans(), max_size=60))
def test_a_window_alone_keeps_the_law(chunks, tokens, late):
    window = Window(0, tokens)
    lateness = iter(late)
    pending, out = None, []

    def settle():
        nonlocal pending
        if pending is not None:
            window.unsafe() if is_bad(pending.text) else window.safe(pending)
        pending = None
        out.extend(one.choice for one in window.releasable())

    for one in chunks:
        window.take({"index": 0, **one})
        pending = window.next_check() or pending
        if not next(lateness, False):
            settle()
    window.close()
    while pending is not None or (pending := window.next_check()) is not None:
        settle()
    whole, released = text_by_channel(chunks), text_by_channel(out)
    assert not any(is_bad(text) for text in released.values())
    assert all(whole[name].startswith(text) for name, text in released.items())
    if not any(is_bad(text) for text in whole.values()):
        assert len(out) == len(chunks)
