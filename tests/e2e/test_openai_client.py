"""OpenAI's own Python client, unchanged, against both doors of the demo model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import openai
import pytest
from openai import OpenAI
from tests.e2e.conftest import MODEL, Quickstart

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
EXACT = {"model": MODEL, "temperature": 0}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
# vLLM's application has these, or other servers do; a version serves what is on its list.
NOT_SERVED = [
    ("POST", "/scale_elastic_ep"),
    ("POST", "/is_scaling_elastic_ep"),
    ("POST", "/inference/v1/generate"),
    ("POST", "/generative_scoring"),
    ("POST", "/v1/responses"),
    ("POST", "/v1/messages"),
    ("POST", "/v1/chat/completions/render"),
    ("POST", "/v1/load_lora_adapter"),
    ("POST", "/pause"),
    ("POST", "/reset_prefix_cache"),
    ("GET", "/tokenizer_info"),
    ("GET", "/server_info"),
    ("GET", "/load"),
    ("GET", "/docs"),
    ("GET", "/openapi.json"),
]
PAGES_OF_THE_DIRECT_DOOR = ["/health", "/ready", "/metrics"]


@pytest.fixture(params=["direct", "bridge"])
def http(quickstart: Quickstart, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    with getattr(quickstart, request.param)() as client:
        yield client


@pytest.fixture
def client(http: httpx.Client) -> OpenAI:
    return openai_client(http)


def openai_client(http: httpx.Client) -> OpenAI:
    """TorchServe's inference key goes where OpenAI's key goes; the direct door needs none."""
    key = http.headers.get("authorization", "Bearer unused").removeprefix("Bearer ")
    plain = httpx.Client(transport=http._transport, timeout=60)
    return OpenAI(base_url=http.base_url.join("v1"), api_key=key, http_client=plain, max_retries=0)


def test_chat(client: OpenAI) -> None:
    answer = client.chat.completions.create(messages=QUESTION, max_tokens=24, **EXACT)
    assert "Paris" in answer.choices[0].message.content
    assert (answer.model, answer.choices[0].finish_reason) == (MODEL, "stop")
    assert answer.usage.completion_tokens > 4


def test_streaming_chat(client: OpenAI) -> None:
    options = {"include_usage": True}
    whole = client.chat.completions.create(messages=QUESTION, max_tokens=24, **EXACT)
    with client.chat.completions.create(
        messages=QUESTION, max_tokens=24, stream=True, stream_options=options, **EXACT
    ) as stream:
        chunks = list(stream)
    said = [c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content]
    assert "".join(said) == whole.choices[0].message.content
    assert len(said) > 4, "one piece is no stream"
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_completions(client: OpenAI) -> None:
    answer = client.completions.create(prompt="The capital of France is", max_tokens=8, **EXACT)
    assert "Paris" in answer.choices[0].text


def test_streaming_completions(client: OpenAI) -> None:
    asked = {"prompt": "The capital of France is", "max_tokens": 8, **EXACT}
    pieces = [chunk.choices[0].text for chunk in client.completions.create(stream=True, **asked)]
    assert "".join(pieces) == client.completions.create(**asked).choices[0].text
    assert len(pieces) > 4


def test_models(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_call(client: OpenAI, stream: bool) -> None:
    asked = {
        "messages": [{"role": "user", "content": "How is the weather in Paris?"}],
        "tools": [WEATHER],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "max_tokens": 100,
        **EXACT,
    }
    if stream:
        chunks = [c for c in client.chat.completions.create(stream=True, **asked) if c.choices]
        calls = [call for c in chunks for call in c.choices[0].delta.tool_calls or []]
        name = next(call.function.name for call in calls if call.function.name)
        arguments = "".join(call.function.arguments or "" for call in calls)
    else:
        (call,) = client.chat.completions.create(**asked).choices[0].message.tool_calls
        name, arguments = call.function.name, call.function.arguments
    assert name == "weather"
    assert json.loads(arguments)["city"] in ("Paris", "Rome")


def test_logprobs(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        messages=QUESTION, max_tokens=4, logprobs=True, top_logprobs=3, **EXACT
    )
    tokens = answer.choices[0].logprobs.content
    assert len(tokens) == 4
    for token in tokens:
        assert len(token.top_logprobs) == 3
        assert token.logprob == max(top.logprob for top in token.top_logprobs) <= 0


def test_two_choices(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        messages=QUESTION, model=MODEL, max_tokens=16, n=2, temperature=1, seed=7
    )
    assert [choice.index for choice in answer.choices] == [0, 1]
    first, second = (choice.message.content for choice in answer.choices)
    assert first
    assert second
    assert first != second


def test_a_bad_request_is_a_bad_request_error(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(messages=QUESTION, max_tokens=10**6, **EXACT)
    assert wrong.value.status_code == 400
    assert wrong.value.type == "BadRequestError"
    assert "max_model_len=2048" in wrong.value.message
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(messages=QUESTION, temperature=-3, model=MODEL, stream=True)


def test_an_unknown_model_is_a_not_found_error(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="gpt-9"):
        client.chat.completions.create(messages=QUESTION, model="gpt-9")


def test_an_endpoint_off_the_list_is_a_not_found_error(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="/v1/responses is not served here"):
        client.responses.create(input="hi", model=MODEL)


def test_tokens_go_there_and_back(http: httpx.Client) -> None:
    text = "The capital of France"
    told = http.post("/tokenize", json={"model": MODEL, "prompt": text}).json()
    assert told["count"] == len(told["tokens"]) > 0
    back = http.post("/detokenize", json={"model": MODEL, "tokens": told["tokens"]}).json()
    assert back["prompt"] == text


def test_the_engines_version(http: httpx.Client) -> None:
    assert http.get("/version").json()["version"].startswith("0.")


def test_nothing_else_is_served(http: httpx.Client) -> None:
    pages = [("GET", page) for page in PAGES_OF_THE_DIRECT_DOOR]
    bridged = "predictions" in str(http.base_url)
    for method, path in [*NOT_SERVED, *(pages if bridged else [])]:
        answer = http.request(method, path, json={} if method == "POST" else None)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, 404), path
        assert f"{path} is not served here" in answer.json()["error"]["message"]


def test_both_doors_give_the_same_answers(quickstart: Quickstart) -> None:
    asked = [
        {"messages": QUESTION},
        {"messages": [{"role": "user", "content": "Name three colours."}]},
        {"messages": [{"role": "user", "content": "Write a line about the sea."}]},
    ]
    with ExitStack() as open_clients:
        both = [
            openai_client(open_clients.enter_context(door()))
            for door in (quickstart.direct, quickstart.bridge)
        ]
        for one in asked:
            direct, bridge = (
                client.chat.completions.create(max_tokens=32, **EXACT, **one) for client in both
            )
            assert direct.choices[0].message.content == bridge.choices[0].message.content
