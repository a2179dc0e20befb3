from hypothesis import given
from hypothesis import strategies as st

from tslc_handlers.sse import DONE, EventDecoder, encode_event

events = st.lists(
    st.dictionaries(st.text(max_size=8), st.text(max_size=20), max_size=3), max_size=6
)


@given(events, st.lists(st.integers(1, 40), max_size=50))
def test_events_come_back_whatever_the_cuts(sent, sizes):
    data = b"".join(encode_event(event) for event in sent) + DONE
    decoder, received = EventDecoder(), []
    for size in [*sizes, len(data)]:
        received += decoder.feed(data[:size])
        data = data[size:]
    assert received == sent
    assert decoder.done


def test_comments_and_other_line_ends_are_understood():
    decoder = EventDecoder()
    assert decoder.feed(b': keep-alive\n\ndata: {"a":1}\r\n\r\n') == [{"a": 1}]
    assert not decoder.done


def test_half_an_event_waits_for_its_end():
    decoder = EventDecoder()
    assert decoder.feed(b'data: {"a"') == []
    assert decoder.feed(b":1}\n\n") == [{"a": 1}]


def test_a_line_end_cut_in_two_is_still_one_line_end():
    decoder = EventDecoder()
    assert decoder.feed(b'data: {"a":1}\r\n\r') == []
    assert decoder.feed(b"\n") == [{"a": 1}]
