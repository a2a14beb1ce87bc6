"""The format of server-sent events, as the HTML standard has it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait_client.live.frame import MalformedFrame
from plait_client.live.sse import EventParser, ServerSentEvent


def parsed(*chunks: bytes) -> list[ServerSentEvent]:
    parser = EventParser()
    return [event for chunk in chunks for event in parser.feed(chunk)]


@pytest.mark.parametrize(
    ("text", "events"),
    [
        (b"data: a\n\n", [ServerSentEvent("message", b"a", None)]),
        (b"event: rev\ndata: a\nid: 7\n\n", [ServerSentEvent("rev", b"a", "7")]),
        (b"data: a\ndata\ndata: b\n\n", [ServerSentEvent("message", b"a\n\nb", None)]),
        (b"data:a\n\ndata: b\n\n", [ServerSentEvent("message", b, None) for b in (b"a", b"b")]),
        (b"data:  a:b \n\n", [ServerSentEvent("message", b" a:b ", None)]),
        (b": comment\n\n:\n\n", []),
        (b"event: rev\n\ndata: a\n\n", [ServerSentEvent("message", b"a", None)]),
        (b"id: 7\n\ndata: a\n\n", [ServerSentEvent("message", b"a", "7")]),
        (b"id: 7\nid: \0\ndata: a\n\n", [ServerSentEvent("message", b"a", "7")]),
        (b"dance: a\ndata: b\n\n", [ServerSentEvent("message", b"b", None)]),
        (b"\xef\xbb\xbfdata: a\n\n", [ServerSentEvent("message", b"a", None)]),
        (b"data: a\r\ndata: b\rdata: c\n\r\n", [ServerSentEvent("message", b"a\nb\nc", None)]),
        (b"data: not finished\n", []),
    ],
)
def test_a_stream_is_read_however_it_is_cut(text: bytes, events: list[ServerSentEvent]) -> None:
    assert parsed(text) == events
    assert parsed(*(bytes([byte]) for byte in text)) == events
    for cut in range(len(text)):
        assert parsed(text[:cut], b"", text[cut:]) == events


@given(
    st.lists(st.sampled_from([b"data: a", b"\r", b"\n", b"\r\n", b":", b"id:1", b"x", b" ", b"\0"])),
    st.data(),
)
def test_cuts_change_nothing(pieces: list[bytes], data: st.DataObject) -> None:
    text = b"".join(pieces)
    cut = data.draw(st.integers(0, len(text)))
    assert parsed(text[:cut], text[cut:]) == parsed(text)


def test_retry_is_kept_where_it_is_a_number() -> None:
    parser = EventParser()
    parser.feed(b"retry: 2000\n\nretry: soon\n\n")
    assert parser.retry_ms == 2_000


@pytest.mark.parametrize("chunk", [b"x" * 100, b"data: abc\n", b"data\n"])
def test_an_event_cannot_grow_for_ever(chunk: bytes) -> None:
    parser = EventParser(bytes_max=10_000)
    for _ in range(10):
        parser.feed(b"data: " + b"x" * 8_000 + b"\n\n")
    with pytest.raises(MalformedFrame):
        any(parser.feed(chunk) for _ in range(10_001))
