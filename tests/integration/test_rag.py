"""Retrieval in front of an engine: the real index, the real door, an engine without a model."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from pathlib import Path

import openai
import pytest
from tiny_handler import TinyHandler

from doors import opened
from knowledge import SUPPORT_BOT, Library
from tslc_handlers.rag.passages import RetrievalFailed
from tslc_handlers.rag_handler import RagVLLMHandler

pytestmark = pytest.mark.integration
CHAT = "/v1/chat/completions"
QUESTION = "How much does the Aurora desk lamp cost?"


class Retrieving(RagVLLMHandler, TinyHandler):
    pass


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    library = Library.at(tmp_path_factory.mktemp("rag") / "l", SUPPORT_BOT / "knowledge")
    return library.built("1.0.0", "--format", "no-archive")


@contextlib.asynccontextmanager
async def serving(archive, tmp_path, monkeypatch, longest=4096, **rag):
    monkeypatch.setattr("tiny_app.TinyApp.max_model_len", longest)
    handler = Retrieving()
    async with opened(handler, {"rag": rag}, tmp_path, monkeypatch, archive) as client:
        yield handler, client


def ask(said=QUESTION, **more):
    # The tiny engine repeats its prompt: an answer of so many words is the prompt.
    return {"messages": [{"role": "user", "content": said}], "max_tokens": 400, **more}


def recorded(handler):
    """The chat requests that the engine gets, from now on."""
    asked, engine = [], handler.engine.app

    async def app(scope, receive, send):
        message = await receive() if scope["path"] == CHAT else None
        if message is not None:
            asked.append(json.loads(message["body"]))

        async def again():
            nonlocal message
            first, message = message, None
            return first or await receive()

        await engine(scope, again, send)

    handler.engine.app = app
    return asked


async def answered(client, body):
    answer = await client.post(CHAT, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def text_of(answer):
    return answer["choices"][0]["message"]["content"]


async def test_the_prompt_holds_the_passages_and_the_answer_their_sources(
    archive, tmp_path, monkeypatch
):
    async with serving(archive, tmp_path, monkeypatch, top_k=2) as (_, client):
        answer = await answered(client, ask())
    assert "Price: 119 euros." in text_of(answer)
    assert QUESTION in text_of(answer)
    assert [set(one) for one in answer["sources"]] == [{"id", "title", "score"}] * 2
    assert answer["sources"][0]["id"] == "knowledge/products-home.md#1"
    assert answer["sources"][0]["title"] == "Lamps for the home"


async def test_a_stream_tells_its_sources_once_with_its_first_chunk(archive, tmp_path, monkeypatch):
    async with serving(archive, tmp_path, monkeypatch) as (_, client):
        answer = await client.post(CHAT, json=ask(stream=True, max_tokens=5))
    events = [json.loads(x[6:]) for x in answer.text.split("\n\n") if x.startswith("data: {")]
    assert len(events) == 5
    assert events[0]["sources"][0]["id"].startswith("knowledge/")
    assert all("sources" not in event for event in events[1:])


async def test_openais_client_takes_answers_with_sources_as_it_takes_others(
    archive, tmp_path, monkeypatch
):
    async with serving(archive, tmp_path, monkeypatch) as (_, http):
        client = openai.AsyncOpenAI(base_url="http://door/v1", api_key="-", http_client=http)
        messages = [{"role": "user", "content": QUESTION}]
        whole = await client.chat.completions.create(model="m", messages=messages, max_tokens=2)
        stream = await client.chat.completions.create(
            model="m", messages=messages, max_tokens=2, stream=True
        )
        chunks = [chunk async for chunk in stream]
    assert len(whole.choices[0].message.content.split()) == 2
    assert whole.model_extra["sources"][0]["id"]
    assert len(chunks) == 2 and chunks[0].model_extra["sources"]


async def test_the_question_before_counts_when_the_last_says_little(archive, tmp_path, monkeypatch):
    turns = ["How much is shipping to Norway?", "And by express?"]
    messages = [{"role": "user", "content": turns[0]}, {"role": "assistant", "content": "14.90"}]
    messages.append({"role": "user", "content": turns[1]})
    async with serving(archive, tmp_path, monkeypatch, top_k=1) as (_, client):
        answer = await answered(client, {"messages": messages, "max_tokens": 400})
    assert answer["sources"][0]["id"] == "knowledge/shipping.md#1"


async def test_the_passages_never_take_more_tokens_than_their_budget(
    archive, tmp_path, monkeypatch
):
    async with serving(archive, tmp_path, monkeypatch, top_k=20, token_budget=150) as (_, client):
        answer = await answered(client, ask())
        inside = text_of(answer).split("<passages>")[1].split("</passages>")[0]
        assert 75 < len(inside.split()) <= 150
        assert len(answer["sources"]) == inside.count("</passage>")


async def test_the_passages_leave_room_for_the_question_and_its_answer(
    archive, tmp_path, monkeypatch
):
    sizes = []
    async with serving(archive, tmp_path, monkeypatch, top_k=20, answer_tokens=60) as (
        handler,
        client,
    ):
        asked = recorded(handler)
        for longest in (80, 250, 400):
            monkeypatch.setattr("tiny_app.TinyApp.max_model_len", longest)
            for limit in ({"max_tokens": 60}, {"max_completion_tokens": 60}, {"max_tokens": None}):
                await client.post(CHAT, json={**ask(), **limit})
                prompt = asked[-1]["messages"][-1]["content"]
                assert len(prompt.split()) + 60 <= longest
                sizes.append(prompt.count("</passage>"))
    assert sizes[0:3] == [0] * 3 and sizes[3] > 0 and sizes[6] > sizes[3]
    assert len(set(sizes[3:6])) == len(set(sizes[6:9])) == 1


async def test_without_a_user_turn_or_on_other_endpoints_nothing_is_retrieved(
    archive, tmp_path, monkeypatch
):
    async with serving(archive, tmp_path, monkeypatch) as (_, client):
        system = {"messages": [{"role": "system", "content": QUESTION}], "max_tokens": 3}
        assert "sources" not in await answered(client, system)
        done = await client.post("/v1/completions", json={"prompt": QUESTION, "max_tokens": 3})
    assert "sources" not in done.json()


async def test_messages_that_are_none_are_left_to_the_engine(archive, tmp_path, monkeypatch):
    searched = []
    async with serving(archive, tmp_path, monkeypatch) as (handler, client):
        monkeypatch.setattr(handler.retriever, "search", lambda *given: searched.append(given))
        for messages in ("none", [], ["x"], [None], [{"role": "user"}], {"a": 1}, None):
            await client.post(CHAT, json={"messages": messages, "max_tokens": 1})
    assert searched == []


async def test_halves_of_emoji_nul_and_megabytes_are_searched_for_all_the_same(
    archive, tmp_path, monkeypatch
):
    async with serving(archive, tmp_path, monkeypatch) as (_, client):
        for said in ("Aurora \ud83d \0", "Aurora " + "word " * 300_000):
            answer = await client.post(CHAT, content=json.dumps(ask(said, max_tokens=3)))
            assert answer.status_code == 200, answer.text


async def test_a_search_that_is_slow_delays_no_other_request(archive, tmp_path, monkeypatch):
    async with serving(archive, tmp_path, monkeypatch) as (handler, client):
        begun, let_go = threading.Event(), threading.Event()
        search = handler.retriever.search

        def slow(query, top_k):
            begun.set()
            let_go.wait(10)
            return search(query, top_k)

        monkeypatch.setattr(handler.retriever, "search", slow)
        asked = asyncio.create_task(answered(client, ask(max_tokens=2)))
        await asyncio.to_thread(begun.wait, 5)
        started = time.monotonic()
        other = await client.post("/v1/completions", json={"prompt": "a", "max_tokens": 2})
        assert other.status_code == 200 and time.monotonic() - started < 2
        assert not asked.done()
        let_go.set()
        assert (await asked)["sources"]


async def test_a_search_that_fails_or_takes_too_long_is_503_and_tells_no_reason(
    archive, tmp_path, monkeypatch
):
    async with serving(archive, tmp_path, monkeypatch, timeout_seconds=0.05) as (handler, client):
        let_go = threading.Event()

        def away(query, top_k):
            raise RetrievalFailed("the database at 10.1.2.3")

        def slow(query, top_k):
            let_go.wait(10)
            return ()

        for search in (away, slow):
            monkeypatch.setattr(handler.retriever, "search", search)
            answer = await client.post(CHAT, json=ask())
            assert answer.status_code == 503
            assert answer.json()["error"]["message"] == "the knowledge base can't be searched now"
            assert answer.json()["error"]["type"] == "ServiceUnavailableError"
        let_go.set()
        count = (await client.get("/metrics")).text
        assert "tslc_retrieval_seconds_count" in count


async def test_a_database_that_is_away_is_503(archive, tmp_path, monkeypatch):
    monkeypatch.setenv("AWAY", "postgresql://user:secret@127.0.0.1:9/none")
    retriever = {"type": "pgvector", "dsn_env": "AWAY"}
    async with serving(archive, tmp_path, monkeypatch, retriever=retriever) as (_, client):
        answer = await client.post(CHAT, json=ask())
        assert answer.status_code == 503 and "secret" not in answer.text


async def test_four_searches_at_once_find_what_one_finds(archive, tmp_path, monkeypatch):
    questions = ["warranty", "Comet 80 price", "opening hours", "swollen battery"] * 6
    async with serving(archive, tmp_path, monkeypatch) as (_, client):
        one_by_one = [await answered(client, ask(said, max_tokens=1)) for said in questions[:4]]
        at_once = await asyncio.gather(
            *(answered(client, ask(said, max_tokens=1)) for said in questions)
        )
    for number, answer in enumerate(at_once):
        assert answer["sources"] == one_by_one[number % 4]["sources"]
