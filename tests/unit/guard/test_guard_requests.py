"""What of a request is read, and what is refused since it can't be."""

import pytest

from tslc_handlers.endpoints import KNOWN
from tslc_handlers.guard.prompt import Role, Turn
from tslc_handlers.guard.requests import (
    CHAT,
    GUARDED,
    HARMLESS,
    TEXT,
    choices_of,
    for_engine,
    read_request,
)
from tslc_handlers.messages import HandlerError

GENERATING = {
    *("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"),
    *("/v1/audio/transcriptions", "/v1/audio/translations"),
}


def user(content):
    return {"role": "user", "content": content}


def chat(*messages, **more):
    return read_request(CHAT, {"messages": list(messages), **more})


def refused(path=CHAT, **body):
    with pytest.raises(HandlerError) as caught:
        read_request(path, body)
    assert caught.value.status == 400
    return caught.value.message


def judged(asked):
    return [turns[-1].text for turns in asked.checks]


def test_every_endpoint_that_generates_is_guarded_or_not_served():
    assert set(KNOWN) - set(HARMLESS) == GENERATING
    assert set(GUARDED) < GENERATING


@pytest.mark.parametrize(
    "field",
    [
        *("chat_template", "prompt_logprobs", "return_token_ids", "return_prompt_text"),
        *("return_tokens_as_token_ids", "logprob_token_ids", "vllm_xargs", "prompt_embeds"),
        *("kv_transfer_params", "media_io_kwargs", "functions", "prompt", "tomorrows_field"),
    ],
)
def test_a_field_that_is_not_on_the_list_is_refused_by_name(field):
    assert field in refused(messages=[user("a")], **{field: 1})


def test_a_subclass_may_take_fields_of_its_own():
    body = {"messages": [user("a")], "rag": {"top_k": 1}}
    read_request(CHAT, body, frozenset({"rag"}))
    assert "rag" in refused(**body)


def test_a_chat_is_read_turn_by_turn():
    asked = chat(
        user("a"), {"role": "assistant", "content": "b"}, user([{"type": "text", "text": "c"}])
    )
    assert asked.conversation == (
        Turn(Role.USER, "a"),
        Turn(Role.AGENT, "b"),
        Turn(Role.USER, "c"),
    )
    assert judged(asked) == ["c"]


def test_system_and_developer_messages_are_judged_by_themselves():
    asked = chat(
        {"role": "system", "content": "bad"}, user("a"), {"role": "developer", "content": "worse"}
    )
    assert asked.beside == "bad\n\nworse"
    assert judged(asked) == ["a"]
    alone = chat({"role": "system", "content": "bad"})
    assert (alone.checks, alone.beside) == ((), "bad")


def test_the_users_turn_is_judged_where_a_tool_or_a_begun_answer_comes_after_it():
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]}
    tool = {"role": "tool", "content": "42", "tool_call_id": "x"}
    begun = {"role": "assistant", "content": "Sure: "}
    assert judged(chat(user("bad"), call, tool)) == ["bad", "42\nx"]
    assert judged(chat(user("bad"), begun)) == ["bad", "Sure: "]
    assert judged(chat(user("bad"), call, tool, begun)) == ["bad", "42\nx", "Sure: "]
    assert judged(chat(begun)) == ["Sure: "]


def test_an_answer_that_goes_on_is_read_as_one():
    begun = {"role": "assistant", "content": "how to make a bo"}
    asked = chat(user("a"), begun, continue_final_message=True)
    assert asked.answered("mb")[-1] == Turn(Role.AGENT, "how to make a bomb")
    assert chat(user("a"), begun).answered("mb")[-1].text == "mb"
    assert chat(user("a"), continue_final_message=True).answered("b")[-1].text == "b"


@pytest.mark.parametrize("field", ["tools", "documents", "chat_template_kwargs", "response_format"])
def test_what_stands_beside_the_conversation_is_read(field):
    value = [{"text": "bad ü"}] if field in ("tools", "documents") else {"k": {"text": "bad ü"}}
    assert "bad ü" in chat(user("a"), **{field: value}).beside


def test_fields_that_say_nothing_are_not_judged():
    asked = chat(user("a"), response_format={"type": "json_object"}, tools=[], documents=None)
    assert asked.beside == ""


@pytest.mark.parametrize("kwargs", [{"chat_template": "{{ x }}"}, "chat_template", 5, ["a"]])
def test_no_template_comes_in_by_the_back_door(kwargs):
    assert "chat_template" in refused(messages=[user("a")], chat_template_kwargs=kwargs)


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": "a", "reasoning": "bad"},
        {"role": "assistant", "refusal": "bad"},
        {"role": "user", "content": "a", "name": "bad"},
        {"role": "assistant", "tool_calls": [{"id": "bad", "function": {"name": "f"}}]},
        {"role": "assistant", "tool_calls": [{"function": {"name": "bad", "arguments": "{}"}}]},
        {"role": "assistant", "tool_calls": [{"function": {"arguments": '{"q": "bad"}'}}]},
        {"role": "assistant", "tool_calls": [{"function": {"arguments": {"id": "bad"}}}]},
        {"role": "assistant", "tool_calls": [{"function": {"arguments": {"bad": 1}}}]},
        {"role": "assistant", "tool_calls": [{"type": "bad"}]},
        {"role": "tool", "content": "a", "tool_call_id": "bad"},
        {"role": "tool", "content": "bad"},
        {"role": "function", "content": "bad", "name": "f"},
        {"role": "user", "content": [{"text": "bad"}]},
        {"role": "user", "content": ["bad"]},
        {"role": "user", "content": [{"type": "refusal", "refusal": "bad"}]},
    ],
)
def test_every_text_of_a_message_is_read(message):
    assert "bad" in chat(message).conversation[-1].text


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "data:"}},
        {"image_url": "data:"},
        {"type": "text", "text": "a", "uuid": "u", "image_url": "data:"},
        {"type": "input_audio", "input_audio": {}},
        {"type": "thinking", "thinking": "a"},
        {"type": ["text"], "text": "a"},
        {"type": None, "text": "a"},
        {"type": "text"},
        {"type": "text", "text": 5},
        5,
        None,
    ],
)
def test_what_is_no_text_is_refused(part):
    assert "messages[0].content[0]" in refused(messages=[user([part])])


@pytest.mark.parametrize(
    "messages",
    [
        *(None, [], "a", [5], [{}], [{"content": "a"}], [{"role": "critic", "content": "a"}]),
        *([{"role": ["user"], "content": "a"}], [{"role": {}, "content": "a"}]),
        *([{"role": "user", "content": {"text": "a"}}], [{"role": "user", "content": 5}]),
        [{"author": {"role": "user"}, "content": "a"}],
        [{"role": "user", "content": "a", "author": {"role": "system"}}],
        [{"role": "user", "content": "a", "audio": {"id": "x"}}],
    ],
)
def test_messages_that_are_none_are_refused(messages):
    refused(messages=messages)


def test_empty_fields_that_clients_send_back_are_taken():
    back = {"role": "assistant", "content": "b", "audio": None, "annotations": [], "refusal": None}
    assert judged(chat(user("a"), back, user("c"))) == ["c"]


@pytest.mark.parametrize("prompt", [[1, 2], [[1, 2]], ["a", "b"], None, 5, [], {"a": 1}])
def test_a_prompt_that_is_not_one_text_is_refused(prompt):
    assert "prompt" in refused(TEXT, prompt=prompt)


@pytest.mark.parametrize("prompt", ["a", ["a"]])
def test_a_prompt_is_the_users_turn(prompt):
    asked = read_request(TEXT, {"prompt": prompt, "suffix": "s"})
    assert (judged(asked), asked.beside) == (["a"], "s")


@pytest.mark.parametrize("n", [0, -1, "3", 3.0, True, [], 129, 10**12])
def test_a_number_of_answers_that_is_none_is_refused(n):
    assert refused(messages=[user("a")], n=n).startswith("n:")


def test_the_number_of_answers_is_one_unless_told():
    assert [choices_of(body) for body in ({}, {"n": None}, {"n": 3})] == [1, 1, 3]


def test_the_engine_gets_the_text_that_was_judged():
    parts = [{"type": "text", "text": "bo"}, {"type": "text", "text": "mb", "cache_control": {}}]
    body = {"messages": [user(parts), user("b")], "temperature": 0}
    changed = for_engine(CHAT, body)
    assert changed["messages"] == [user("bo\nmb"), user("b")]
    assert chat(user(parts)).conversation[-1].text == "bo\nmb"
    assert body["messages"][0] == user(parts), "the client's own stays as it was"


def test_the_engine_is_asked_for_no_tokens_but_the_answers():
    chatted = for_engine(CHAT, {"messages": [user("a")], "logprobs": True, "top_logprobs": 20})
    assert chatted["top_logprobs"] == 0
    assert for_engine(TEXT, {"prompt": "a", "logprobs": 5})["logprobs"] == 0
    assert for_engine(TEXT, {"prompt": "a"}) == {"prompt": "a"}
