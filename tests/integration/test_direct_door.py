"""The worker's own listener: a real uvicorn on a Unix socket around the handler; no TorchServe."""

import asyncio
import contextlib
import json
import os
from pathlib import Path

import httpx
import pytest
from tiny_handler import TinyHandler

from doors import opened
from tslc_handlers import VLLMHandler

pytestmark = pytest.mark.integration


class HooklessHandler(VLLMHandler):
    """The tiny engine, as it is."""

    open_engine = TinyHandler.open_engine


@contextlib.asynccontextmanager
async def serving(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[VLLMHandler] = TinyHandler,
    **section,
):
    """A started handler and a client of its door."""
    handler = kind()
    async with opened(handler, section, tmp_path, monkeypatch) as client:
        yield handler, client


@pytest.fixture
async def door(tmp_path, monkeypatch):
    async with serving(tmp_path, monkeypatch) as pair:
        yield pair


def ask(**tiny):
    return {"prompt": "a b c", "max_tokens": 6, "tiny": tiny}


async def until(condition, seconds=5.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def test_the_socket_names_model_version_and_worker(door, tmp_path):
    (socket,) = tmp_path.glob("*.sock")
    assert socket.name == f"m@1.0@{os.getpid()}.sock"
    assert oct(socket.stat().st_mode)[-3:] == "600"


async def test_the_three_pages_about_the_worker(door):
    _, client = door
    ready = (await client.get("/ready")).json()
    assert (ready["ok"], ready["model"], ready["version"]) == (True, "m", "1.0")
    assert (await client.get("/health")).status_code == 200
    await client.post("/v1/completions", json=ask())
    metrics = (await client.get("/metrics")).text
    assert 'tslc_requests_total{door="direct",endpoint="/v1/completions",status="200"}' in metrics


async def test_a_dead_engine_is_neither_alive_nor_ready(door, monkeypatch):
    monkeypatch.setattr("tslc_handlers.lifetime.end_process", lambda code: None)
    handler, client = door
    handler.tiny.dead = True
    for page in ("/health", "/ready"):
        answer = await client.get(page)
        assert (answer.status_code, answer.json()["ok"]) == (503, False)


async def test_what_is_not_on_the_list_is_404_and_a_wrong_method_405(door):
    _, client = door
    hidden = await client.get("/state")  # the engine has it, the list has not
    assert hidden.status_code == 404
    assert hidden.json()["error"]["type"] == "NotFoundError"
    wrong = await client.get("/v1/completions")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")


async def test_an_oversized_body_is_413_before_it_is_read(tmp_path, monkeypatch):
    async with serving(tmp_path, monkeypatch, max_body_bytes=100) as (_, client):
        answer = await client.post("/v1/completions", content=b"x" * 101)
        assert answer.status_code == 413
        assert (await client.post("/v1/completions", json=ask())).status_code == 200


async def test_hooks_see_and_change_whole_answers(door):
    _, client = door
    answer = (await client.post("/v1/completions", json=ask())).json()
    assert answer["served_by"] == "m@1.0"


@pytest.mark.parametrize("hook", ["raise", "raise-after"])
async def test_an_exception_in_a_hook_is_one_clean_500(door, hook):
    _, client = door
    bad, good = await asyncio.gather(
        client.post("/v1/completions", json=ask(hook=hook)),
        client.post("/v1/completions", json=ask(delay=0.02)),
    )
    assert good.status_code == 200
    assert bad.status_code == 500
    message = bad.json()["error"]["message"]
    assert "failed; request id" in message
    assert "asked to raise" not in message  # the reason is for the log, not for the client


async def test_a_hook_answers_with_an_error_of_its_choice(door):
    _, client = door
    answer = await client.post("/v1/completions", json=ask(hook="refuse"))
    assert answer.status_code == 451
    assert answer.json()["error"]["type"] == "Refused"


async def test_an_early_answer_is_streamed_to_who_asked_for_a_stream(door):
    _, client = door
    body = {"messages": [{"role": "user", "content": "x"}], "tiny": {"hook": "early"}}
    whole = (await client.post("/v1/chat/completions", json=body)).json()
    assert whole["choices"][0]["message"]["content"] == "an early answer"
    streamed = (await client.post("/v1/chat/completions", json=body | {"stream": True})).text
    assert "an early answer" in streamed
    assert streamed.endswith("data: [DONE]\n\n")


async def test_a_stream_whose_hook_raises_ends_with_an_error_event(door):
    _, client = door
    body = ask(hook="raise-after") | {"stream": True}
    text = (await client.post("/v1/completions", json=body)).text
    events = [json.loads(line[6:]) for line in text.split("\n\n") if line.startswith("data: {")]
    assert [bool(event.get("choices")) for event in events] == [True, True, False]
    assert events[-1]["error"]["code"] == 500
    assert text.endswith("data: [DONE]\n\n")


async def test_a_hook_that_stops_early_stops_the_generation(door):
    handler, client = door
    body = ask(hook="stop", delay=0.05) | {"stream": True, "max_tokens": 1000}
    text = (await client.post("/v1/completions", json=body)).text
    assert text.count("data: {") == 2
    await until(lambda: handler.tiny.generating == 0)


async def test_what_is_not_json_is_refused_in_the_engines_words(door):
    _, client = door
    for content in (b'{"prompt"', b"[1]", b"\xff\xfe"):
        answer = await client.post("/v1/completions", content=content)
        assert answer.status_code == 400, content
        assert answer.json()["error"]["type"] == "BadRequestError"


async def test_an_engine_that_fails_answers_500_for_that_request_alone(door):
    _, client = door
    answer = await client.post("/v1/completions", json=ask(crash=True))
    assert answer.status_code == 500
    assert (await client.post("/v1/completions", json=ask())).status_code == 200


@pytest.mark.parametrize("kind", [TinyHandler, HooklessHandler])
async def test_a_stream_that_fails_before_its_first_piece_is_a_500_and_no_broken_connection(
    tmp_path, monkeypatch, kind
):
    early, late = (ask(crash_after=n) | {"stream": True} for n in (0, 1))
    async with serving(tmp_path, monkeypatch, kind) as (_, client):
        answer = await client.post("/v1/completions", json=early)
        assert (answer.status_code, answer.json()["error"]["message"]) == (500, "internal error")
        async with client.stream("POST", "/v1/completions", json=late) as broken:
            assert broken.status_code == 200
            with pytest.raises(httpx.RemoteProtocolError):
                await broken.aread()


@pytest.mark.parametrize("hook", [None, "watch"])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_stops_its_generation(door, stream, hook):
    handler, client = door
    body = ask(delay=0.02, hook=hook) | {"stream": stream, "max_tokens": 1000}
    request = asyncio.create_task(client.post("/v1/completions", json=body))
    await until(lambda: handler.tiny.generating == 1)
    request.cancel()
    await until(lambda: handler.tiny.generating == 0)
    tokens = handler.tiny.tokens_out
    await asyncio.sleep(0.1)
    assert handler.tiny.tokens_out == tokens
    metrics = (await client.get("/metrics")).text
    assert "tslc_hang_ups_total" in metrics


async def test_readiness_is_asked_of_the_engine_only_when_it_shows_no_life(door):
    handler, client = door
    assert (await client.get("/ready")).status_code == 200
    probed = handler.tiny.tokens_out
    assert (await client.get("/ready")).status_code == 200  # within the second: the same answer
    assert handler.tiny.tokens_out == probed


async def test_an_engine_that_raises_is_not_ready(door):
    handler, client = door
    handler.engine.probe = ("/v1/completions", {"prompt": "x", "tiny": {"crash": True}})
    answer = await client.get("/ready")
    assert (answer.status_code, answer.json()["ok"]) == (503, False)


@pytest.mark.parametrize("overridden", [frozenset(), frozenset({"preprocess"})])
async def test_a_body_in_chunks_is_bounded_too(tmp_path, monkeypatch, overridden):
    async with serving(tmp_path, monkeypatch, max_body_bytes=1000) as (handler, client):
        handler.overridden = overridden

        async def chunks(count):
            for _ in range(count):
                yield b" " * 500

        assert (await client.post("/v1/completions", content=chunks(10))).status_code == 413

        async def small():
            yield json.dumps(ask()).encode()

        assert (await client.post("/v1/completions", content=small())).status_code == 200


@pytest.mark.parametrize("length", ["many", "-1"])
async def test_a_length_that_is_no_number_is_refused(door, length):
    handler, _ = door
    (socket,) = Path(handler._door_path).parent.glob("*.sock")
    reader, writer = await asyncio.open_unix_connection(str(socket))
    writer.write(f"POST /v1/completions HTTP/1.1\r\ncontent-length: {length}\r\n\r\n".encode())
    assert (await reader.readline()).split()[1] in (b"400", b"413")
    writer.close()


@pytest.mark.parametrize(
    ("hook", "status"), [("nothing", 500), ("odd-status", 499), ("half-emoji", 200)]
)
async def test_a_hooks_slips_stay_with_its_request(door, hook, status):
    _, client = door
    answer = await client.post("/v1/completions", json=ask(hook=hook))
    assert answer.status_code == status
    if status >= 400:
        assert answer.json()["error"]["code"] == status


async def test_a_folder_open_to_others_is_refused_before_the_engine_loads(tmp_path, monkeypatch):
    tmp_path.chmod(0o755)
    with pytest.raises(ValueError, match="is open to others"):
        async with serving(tmp_path, monkeypatch):
            pass
