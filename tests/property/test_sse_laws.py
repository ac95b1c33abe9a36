"""Laws of the event parser, against a reader that follows the specification a line at a time."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from penstock.wire.sse import Event, SseParser

TOKENS = st.sampled_from([
    b"\n", b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n", b"data", b"data: ", b"data:", b"event: x", b"event", b":",
    b": keep-alive", b" ", b"{}", b"[DONE]", b"id: 1", "水".encode(), b"\xef\xbb\xbf", b"\xff", b"\0",
])  # fmt: skip
STREAMS = st.lists(TOKENS, max_size=24).map(b"".join)


@st.composite
def splits(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """A stream, and the reads it arrives in (empty ones too)."""
    stream = draw(STREAMS)
    cuts = draw(st.lists(st.integers(0, len(stream)), max_size=8))
    return stream, [stream[start:end] for start, end in pairwise([0, *sorted(cuts), len(stream)])]


def read(pieces: list[bytes]) -> list[Event]:
    """Every event of a stream that arrives in these pieces."""
    parser = SseParser()
    events = [event for piece in pieces for event in parser.feed(piece)]
    return events + parser.finish()


def by_the_book(stream: bytes) -> list[tuple[str, bytes]]:
    """The events with data, after the specification's own algorithm; the last one may lack its blank line."""
    text = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n") + b"\n\n"
    events, name, data = [], "", []
    for line in text.split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value.decode("utf-8", "replace")
        elif not line:
            events += [(name, b"\n".join(data))] if data else []
            name, data = "", []
    return events


@given(STREAMS)
def test_events_are_those_of_the_specification(stream: bytes) -> None:
    """Whatever line ends, comments and fields a stream mixes."""
    events = [(event.name, event.data) for event in read([stream]) if event.data is not None]
    assert events == by_the_book(stream)


@given(splits())
def test_splits_change_nothing(split: tuple[bytes, list[bytes]]) -> None:
    """The parser is a function of the bytes, not of the reads."""
    stream, pieces = split
    whole, parts = ([(event.name, event.data, event.raw) for event in read(cut)] for cut in ([stream], pieces))
    assert parts == whole


@given(splits())
def test_raw_bytes_are_the_stream(split: tuple[bytes, list[bytes]]) -> None:
    """What is passed on is what came, but for line ends that complete a cut stream."""
    stream, pieces = split
    joined = b"".join(event.raw for event in read(pieces))
    assert joined.startswith(stream)
    assert joined[len(stream) :] in {b"", b"\n", b"\n\n"}


@given(STREAMS)
def test_what_is_passed_on_reads_the_same(stream: bytes) -> None:
    """The client's parser sees the events that we saw."""
    events = read([stream])
    assert by_the_book(b"".join(event.raw for event in events)) == by_the_book(stream)
