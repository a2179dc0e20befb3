"""Gates, and errors before a stream's first event: `run_hooked` around a small application."""

import asyncio
import json

import pytest

from tslc_handlers.asgi import http_scope, replay
from tslc_handlers.hooks import run_hooked
from tslc_handlers.messages import HandlerError, RequestContext, Response, encode

CHAT = "/v1/chat/completions"
HEAD = [(b"content-type", b"text/event-stream")]
INSTEAD = {"id": "x", "choices": [{"index": 0, "message": {"content": "no"}}], "guard": {"a": 1}}


class Engine:
    """Streams or gives one answer; `begun` when it was asked, `left` when it was stopped."""

    def __init__(self, kind="text/event-stream", status=200, chunks=(b'data: {"n": 1}\n\n',)):
        self.kind, self.status, self.chunks = kind, status, chunks
        self.begun, self.left, self.go = asyncio.Event(), False, asyncio.Event()
        self.go.set()

    async def __call__(self, scope, receive, send):
        await receive()
        self.begun.set()
        head = [(b"content-type", self.kind.encode())]
        try:
            await send({"type": "http.response.start", "status": self.status, "headers": head})
            for chunk in self.chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await self.go.wait()
            await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})
        except asyncio.CancelledError:
            self.left = True
            raise


class Hooks:
    overridden = frozenset({"preprocess", "postprocess", "postprocess_stream"})

    def __init__(self, gate=None, stream=None):
        self.gate, self.stream = gate, stream

    async def preprocess(self, request, context):
        if self.gate is not None:
            context.gate = asyncio.ensure_future(self.gate)
        return request

    async def postprocess(self, response, context):
        return response

    async def postprocess_stream(self, events, context):
        async for event in self.stream(events) if self.stream else events:
            yield event


async def answered(hooks, engine, body=b'{"stream": true}', path=CHAT):
    """Status, content type and body of what went out."""
    sent = []

    async def send(message):
        sent.append(message)

    async def never():
        await asyncio.Event().wait()

    context = RequestContext("m", "1", "r", "direct")
    scope = http_scope("POST", path, {}, len(body))
    async with asyncio.timeout(5):
        await run_hooked(hooks, engine, context, scope, replay(body, never), send, 1000)
    (head,) = [one for one in sent if one["type"] == "http.response.start"]
    data = b"".join(one.get("body", b"") for one in sent if one is not head)
    return head["status"], dict(head["headers"])[b"content-type"].decode(), data.decode()


async def test_the_engine_works_while_the_gate_is_shut_and_nothing_goes_out():
    engine, open_ = Engine(), asyncio.Event()

    async def gate():
        await engine.begun.wait()
        await open_.wait()

    task = asyncio.create_task(answered(Hooks(gate()), engine))
    await engine.begun.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    assert not task.done()
    open_.set()
    status, kind, text = await task
    assert (status, kind.startswith("text/event-stream")) == (200, True)
    assert text == 'data: {"n":1}\n\ndata: [DONE]\n\n'


@pytest.mark.parametrize("stream", [True, False])
async def test_what_the_gate_gives_is_the_answer_and_the_engine_is_stopped(stream):
    engine = Engine()
    engine.go.clear()

    async def gate():
        await engine.begun.wait()
        return Response(INSTEAD)

    body = encode({"stream": stream})
    status, kind, text = await answered(Hooks(gate()), engine, body)
    assert (status, engine.left) == (200, True)
    assert '"no"' in text
    assert '"n"' not in text
    assert '"guard":{"a":1}' in text, "extension fields are in streams too"
    assert kind.startswith("text/event-stream" if stream else "application/json")


async def test_a_gate_that_raises_is_an_error_with_its_status():
    async def gate():
        raise HandlerError(503, "not judged")

    engine = Engine()
    engine.go.clear()
    status, _, text = await answered(Hooks(gate()), engine)
    assert (status, json.loads(text)["error"]["message"]) == (503, "not judged")
    assert engine.left


async def test_a_gate_nobody_waits_for_is_cancelled():
    cancelled = False

    async def gate():
        nonlocal cancelled
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled = True
            raise

    class Failing(Hooks):
        async def preprocess(self, request, context):
            await super().preprocess(request, context)
            await asyncio.sleep(0)
            raise HandlerError(503, "no knowledge")

    status, _, _ = await answered(Failing(gate()), Engine())
    assert (status, cancelled) == (503, True)


async def failing(events):
    raise HandlerError(503, "not judged")
    yield


async def failing_late(events):
    yield {"n": 0}
    raise HandlerError(503, "not judged")


async def test_an_error_before_the_first_event_of_a_stream_has_a_status():
    status, kind, text = await answered(Hooks(stream=failing), Engine())
    assert (status, kind) == (503, "application/json")
    assert json.loads(text)["error"]["code"] == 503


async def test_an_error_after_it_is_an_event():
    status, _, text = await answered(Hooks(stream=failing_late), Engine())
    assert status == 200
    assert '"code":503' in text
    assert text.endswith("data: [DONE]\n\n")


async def test_a_hook_that_ends_a_stream_early_ends_it_whole_though_the_engine_was_faster():
    engine = Engine(chunks=[b'data: {"n": %d}\n\n' % i for i in range(50)])

    async def first(events):
        async for event in events:
            await asyncio.wait_for(_done(engine), 1)
            yield event
            return

    async def _done(engine):
        while not engine.begun.is_set():
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)

    _, _, text = await answered(Hooks(stream=first), engine)
    assert text == 'data: {"n":0}\n\ndata: [DONE]\n\n'


async def test_a_stream_that_the_engine_breaks_off_stays_broken():
    class Broken(Engine):
        async def __call__(self, scope, receive, send):
            self.chunks = ()
            await send({"type": "http.response.start", "status": 200, "headers": HEAD})
            chunk = b'data: {"n": 1}\n\n'
            await send({"type": "http.response.body", "body": chunk, "more_body": False})

    _, _, text = await answered(Hooks(), Broken())
    assert text == 'data: {"n":1}\n\n'


@pytest.mark.parametrize("kind", ["text/plain", "", "application/octet-stream"])
async def test_an_answer_that_hooks_cannot_be_shown_does_not_pass_them(kind):
    with pytest.raises(ValueError, match="no hook"):
        await answered(Hooks(), Engine(kind, chunks=(b"text",)))


async def test_an_answer_that_is_no_object_does_not_pass_either():
    async def listed(scope, receive, send):
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'["text"]'})

    with pytest.raises(ValueError, match="no hook"):
        await answered(Hooks(), listed)


@pytest.mark.parametrize("body", [b"[1]", b"{", b"\xff"])
async def test_a_body_hooks_cannot_read_gets_a_refusal_or_nothing(body):
    with pytest.raises(ValueError, match="no JSON object"):
        await answered(Hooks(), Engine(), body)
    status, _, text = await answered(Hooks(), Engine("application/json", 400), body)
    assert (status, "n" in text) == (400, True)
