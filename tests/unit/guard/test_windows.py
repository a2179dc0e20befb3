"""Which chunks of a choice may go out, and when the guard is asked."""

from tslc_handlers.guard.windows import Window


def delta(text, finish=None):
    return {"index": 0, "delta": {"content": text}, "finish_reason": finish}


def texts(window):
    return [chunk.choice["delta"]["content"] for chunk in window.releasable()]


def window(*chunks, tokens=2):
    made = Window(0, tokens)
    for chunk in chunks:
        made.take(chunk)
    return made


def test_nothing_is_asked_before_there_is_a_window_of_it():
    one = window(delta(""), delta("a"))
    assert one.next_check() is None
    assert texts(one) == []
    one.take(delta("b"))
    assert one.next_check().text == "ab"


def test_one_question_at_a_time_and_the_next_holds_all_that_came_meanwhile():
    one = window(delta("a"), delta("b"))
    asked = one.next_check()
    for text in "cde":
        one.take(delta(text))
        assert one.next_check() is None
    one.safe(asked)
    assert texts(one) == ["a", "b"], "only what the verdict covers"
    assert one.next_check().text == "abcde"


def test_a_long_chunk_is_more_than_one_token():
    assert window(delta("a" * 40), tokens=10).next_check() is not None


def test_the_last_chunk_goes_out_though_it_says_nothing():
    one = window(delta("a"), delta("b"))
    one.safe(one.next_check())
    assert texts(one) == ["a", "b"]
    one.take(delta("", "stop"))
    assert one.next_check() is None
    assert [chunk.choice["finish_reason"] for chunk in one.releasable()] == ["stop"]


def test_an_answer_shorter_than_a_window_is_asked_about_at_its_end():
    assert window(delta("a", "stop"), tokens=100).next_check().text == "a"
    ended = window(delta("a"), tokens=100)
    ended.close()
    assert ended.next_check().text == "a"


def test_an_answer_without_a_word_needs_a_question_of_nothing():
    one = window(delta("", "stop"))
    asked = one.next_check()
    assert asked.text == ""
    one.safe(asked)
    assert texts(one) == [""]


def test_after_a_no_nothing_comes_out_whatever_comes_in():
    one = window(delta("a"), delta("b"))
    asked = one.next_check()
    one.unsafe()
    one.safe(asked)
    one.take(delta("c", "stop"))
    assert (texts(one), one.next_check()) == ([], None)


def test_text_after_the_end_is_asked_about_too():
    one = window(delta("a"), delta("b", "stop"))
    one.safe(one.next_check())
    texts(one)
    one.take(delta("c"))
    assert texts(one) == []
    assert one.next_check().text == "abc"


def test_counts_stay_with_their_chunk():
    one = Window(0, 1)
    one.take(delta("a"), {"total_tokens": 1})
    one.safe(one.next_check())
    assert [chunk.usage for chunk in one.releasable()] == [{"total_tokens": 1}]
