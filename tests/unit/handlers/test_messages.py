from tslc_handlers.messages import as_stream, error_body


def test_errors_have_openais_shape():
    assert error_body(404, "no such thing") == {
        "error": {"message": "no such thing", "type": "NotFoundError", "param": None, "code": 404}
    }


def test_an_unnamed_status_is_named_by_http():
    assert error_body(413, "too much")["error"]["type"]
    assert error_body(451, "no", type="Refused")["error"]["type"] == "Refused"


def test_a_whole_chat_answer_becomes_a_delta_and_a_finish_for_each_choice():
    body = {
        "id": "x",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "a"}},
            {"index": 1, "message": {"content": "b"}, "finish_reason": "content_filter"},
        ],
    }
    chunks = list(as_stream("/v1/chat/completions", body))
    assert [c["choices"][0]["index"] for c in chunks] == [0, 0, 1, 1]
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": "a"}
    assert [c["choices"][0]["finish_reason"] for c in chunks] == [
        None,
        "stop",
        None,
        "content_filter",
    ]
    assert all(c["object"] == "chat.completion.chunk" and c["id"] == "x" for c in chunks)


def test_a_whole_text_answer_becomes_one_chunk_a_choice():
    (chunk,) = as_stream("/v1/completions", {"choices": [{"index": 0, "text": "a"}]})
    assert chunk["choices"] == [{"index": 0, "text": "a", "finish_reason": "stop"}]
