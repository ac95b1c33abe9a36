"""Framings of event streams: each is read whole, in two at every byte offset, and byte by byte."""

from collections.abc import Iterable
from typing import NamedTuple

import pytest

from penstock.errors import BadAnswer
from penstock.wire.sse import DONE, Event, SseParser, comment, error_event, sse

Said = list[tuple[str, bytes]]
"""The events with data, as (name, data)."""
Seen = list[tuple[str, bytes | None, bytes]]


class Framing(NamedTuple):
    """A stream and the events in it."""

    stream: bytes
    said: Said


A = ("", b"a")
B = ("", b"b")
ERROR = b'{"error":{"message":"busy"}}'

FRAMINGS = {
    # line ends
    "lf": Framing(b"data: a\n\ndata: b\n\n", [A, B]),
    "crlf": Framing(b"data: a\r\n\r\ndata: b\r\n\r\n", [A, B]),
    "cr": Framing(b"data: a\r\rdata: b\r\r", [A, B]),
    "lf then crlf": Framing(b"data: a\n\ndata: b\r\n\r\n", [A, B]),
    "crlf then lf": Framing(b"data: a\r\n\r\ndata: b\n\n", [A, B]),
    "cr then lf": Framing(b"data: a\r\rdata: b\n\n", [A, B]),
    "lf then cr": Framing(b"data: a\n\ndata: b\r\r", [A, B]),
    "line lf, blank crlf": Framing(b"data: a\n\r\ndata: b\n\r\n", [A, B]),
    "line lf, blank cr": Framing(b"data: a\n\rdata: b\n\r", [A, B]),
    "line crlf, blank lf": Framing(b"data: a\r\n\ndata: b\r\n\n", [A, B]),
    "line crlf, blank cr": Framing(b"data: a\r\n\rdata: b\r\n\r", [A, B]),
    "line cr, blank crlf": Framing(b"data: a\r\r\ndata: b\r\r\n", [A, B]),
    "lines of an event mixed": Framing(b"data: a\ndata: b\r\ndata: c\rdata: d\n\n", [("", b"a\nb\nc\nd")]),
    "blank lines before": Framing(b"\n\n\ndata: a\n\n", [A]),
    "blank crlf lines before": Framing(b"\r\n\r\ndata: a\r\n\r\n", [A]),
    "blank cr lines before": Framing(b"\r\r\rdata: a\r\r", [A]),
    "blank lines between": Framing(b"data: a\n\n\n\n\ndata: b\n\n", [A, B]),
    "blank crlf lines between": Framing(b"data: a\r\n\r\n\r\n\r\ndata: b\r\n\r\n", [A, B]),
    "blank lines after": Framing(b"data: a\n\n\n\n", [A]),
    "only blank lines": Framing(b"\n\r\n\r\n\n", []),
    "nothing": Framing(b"", []),
    # the end of the stream
    "cut after the data": Framing(b"data: a\n\ndata: b", [A, B]),
    "cut after the line": Framing(b"data: a\n\ndata: b\n", [A, B]),
    "cut after a crlf": Framing(b"data: a\r\n\r\ndata: b\r\n", [A, B]),
    "cut inside the blank crlf": Framing(b"data: a\r\n\r\ndata: b\r\n\r", [A, B]),
    "cut after a cr": Framing(b"data: a\r\rdata: b\r", [A, B]),
    "cut inside the field name": Framing(b"data: a\n\ndat", [A]),
    "cut inside a comment": Framing(b"data: a\n\n: keep-al", [A]),
    "no [DONE]": Framing(b"data: a\n\n", [A]),
    "[DONE]": Framing(b"data: a\n\ndata: [DONE]\n\n", [A, ("", DONE)]),
    "[DONE] without a line end": Framing(b"data: a\n\ndata: [DONE]", [A, ("", DONE)]),
    "[DONE] without the space": Framing(b"data:[DONE]\n\n", [("", DONE)]),
    "data after [DONE]": Framing(b"data: [DONE]\n\ndata: b\n\n", [("", DONE), B]),
    # the byte order mark
    "bom": Framing(b"\xef\xbb\xbfdata: a\n\ndata: b\n\n", [A, B]),
    "bom with crlf": Framing(b"\xef\xbb\xbfdata: a\r\n\r\n", [A]),
    "bom before a comment": Framing(b"\xef\xbb\xbf: hi\n\ndata: a\n\n", [A]),
    "bom alone on its line": Framing(b"\xef\xbb\xbf\ndata: a\n\n", [A]),
    "bom later is a field name": Framing(b"data: a\n\n\xef\xbb\xbfdata: b\n\ndata: b\n\n", [A, B]),
    "bom after a blank line": Framing(b"\n\xef\xbb\xbfdata: b\n\ndata: a\n\n", [A]),
    "bom only": Framing(b"\xef\xbb\xbf", []),
    # comments
    "keep-alive before": Framing(b": keep-alive\n\ndata: a\n\n", [A]),
    "keep-alives between": Framing(b"data: a\n\n: keep-alive\n\n: keep-alive\n\ndata: b\n\n", [A, B]),
    "openrouter": Framing(b": OPENROUTER PROCESSING\n\ndata: a\n\n", [A]),
    "empty comment": Framing(b":\n\ndata: a\n\n", [A]),
    "comment inside an event": Framing(b": why\ndata: a\n: more\n\n", [A]),
    "comment that looks like data": Framing(b": data: a\n\ndata: b\n\n", [B]),
    "keep-alive with crlf": Framing(b": keep-alive\r\n\r\ndata: a\r\n\r\n", [A]),
    "keep-alive with cr": Framing(b": keep-alive\r\rdata: a\r\r", [A]),
    # fields
    "no space": Framing(b"data:a\n\ndata:b\n\n", [A, B]),
    "two spaces": Framing(b"data:  a\n\n", [("", b" a")]),
    "tab": Framing(b"data:\ta\n\n", [("", b"\ta")]),
    "space before the colon": Framing(b"data : a\n\ndata: b\n\n", [B]),
    "trailing spaces": Framing(b"data: a  \n\n", [("", b"a  ")]),
    "empty data": Framing(b"data:\n\n", [("", b"")]),
    "empty data with a space": Framing(b"data: \n\n", [("", b"")]),
    "field without colon": Framing(b"data\n\n", [("", b"")]),
    "upper case is another field": Framing(b"DATA: a\n\ndata: b\n\n", [B]),
    "name before": Framing(b"event: error\ndata: a\n\n", [("error", b"a")]),
    "name after": Framing(b"data: a\nevent: error\n\n", [("error", b"a")]),
    "name without space": Framing(b"event:ping\ndata:a\n\n", [("ping", b"a")]),
    "last name counts": Framing(b"event: x\nevent: y\ndata: a\n\n", [("y", b"a")]),
    "a name does not stick": Framing(b"event: x\ndata: a\n\ndata: b\n\n", [("x", b"a"), B]),
    "name without data": Framing(b"event: ping\n\ndata: a\n\n", [A]),
    "name with crlf": Framing(b"event: x\r\ndata: a\r\n\r\n", [("x", b"a")]),
    "name in chinese": Framing("event: 事件\ndata: a\n\n".encode(), [("事件", b"a")]),
    "id and retry": Framing(b"id: 7\nretry: 3000\ndata: a\n\n", [A]),
    "unknown field": Framing(b"data: a\nx-trace: 1\n\n", [A]),
    "only unknown fields": Framing(b"id: 7\n\ndata: a\n\n", [A]),
    "two data lines": Framing(b"data: a\ndata: b\n\n", [("", b"a\nb")]),
    "json over lines": Framing(b'data: {"a":\ndata: 1}\n\n', [("", b'{"a":\n1}')]),
    "empty line of data between": Framing(b"data: a\ndata:\ndata: b\n\n", [("", b"a\n\nb")]),
    "colons in the data": Framing(b"data: a: b: c\n\n", [("", b"a: b: c")]),
    "data in the data": Framing(b"data: data: a\n\n", [("", b"data: a")]),
    # payloads
    "utf-8": Framing("data: 你好, 🚰 é\n\ndata: b\n\n".encode(), [("", "你好, 🚰 é".encode()), B]),
    "invalid utf-8": Framing(b"data: \xff\xfe\n\ndata: b\n\n", [("", b"\xff\xfe"), B]),
    "line separators are data": Framing(
        "data: a\u2028b\x0bc\x0c\x85d\n\n".encode(), [("", "a\u2028b\x0bc\x0c\x85d".encode())]
    ),
    "nul": Framing(b"data: a\0b\n\n", [("", b"a\0b")]),
    "escaped line ends": Framing(b'data: "a\\n\\nb\\r"\n\n', [("", b'"a\\n\\nb\\r"')]),
    "error inside a stream": Framing(b"data: a\n\ndata: " + ERROR + b"\n\n", [A, ("", ERROR)]),
    "named error": Framing(b"event: error\ndata: " + ERROR + b"\n\n", [("error", ERROR)]),
    "plain json, no stream": Framing(ERROR + b"\n", []),
    "html": Framing(b"<html>\r\n<body>502</body>\r\n\r\n</html>\r\n", []),
}


def read(parser: SseParser, pieces: Iterable[bytes]) -> list[Event]:
    """Every event of a stream that arrives in these pieces."""
    events: list[Event] = []
    drain(parser, pieces, events)
    return events


def drain(parser: SseParser, pieces: Iterable[bytes], events: list[Event]) -> None:
    """Append every event of a stream, as far as it can be read."""
    for piece in pieces:
        events += parser.feed(piece)
    events += parser.finish()


def seen(events: list[Event]) -> Seen:
    """What events hold."""
    return [(event.name, event.data, event.raw) for event in events]


def said(events: list[Event]) -> Said:
    """The events with data."""
    return [(event.name, event.data) for event in events if event.data is not None]


@pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS)
def test_framing_whole(framing: Framing) -> None:
    """A stream read at once holds its events, and their bytes joined are the stream, completed where it was cut."""
    events = read(SseParser(), [framing.stream])
    assert said(events) == framing.said
    joined = b"".join(event.raw for event in events)
    assert joined.startswith(framing.stream)
    assert joined[len(framing.stream) :].strip(b"\n") == b""


@pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS)
def test_framing_split_at_every_offset(framing: Framing) -> None:
    """Where a stream is split changes nothing: not its events, and not which bytes belong to which."""
    whole = seen(read(SseParser(), [framing.stream]))
    for offset in range(len(framing.stream) + 1):
        assert seen(read(SseParser(), [framing.stream[:offset], framing.stream[offset:]])) == whole, offset


@pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS)
def test_framing_byte_by_byte(framing: Framing) -> None:
    """A stream that trickles in holds the same events."""
    whole = seen(read(SseParser(), [framing.stream]))
    assert seen(read(SseParser(), (bytes((byte,)) for byte in framing.stream))) == whole


@pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS)
def test_events_can_be_sent_again(framing: Framing) -> None:
    """What was read, joined and read again is the same: what we send on means what was sent to us."""
    events = read(SseParser(), [framing.stream])
    assert said(read(SseParser(), [b"".join(event.raw for event in events)])) == framing.said


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_an_event_comes_out_with_its_last_byte(end: bytes) -> None:
    """Nothing waits for a byte that need not come, and an event's raw bytes hold its blank line."""
    parser = SseParser()
    stream = b"data: a" + end + end
    assert parser.feed(stream[:-1]) == []
    assert seen(parser.feed(stream[-1:])) == [("", b"a", stream)]


def test_an_unfinished_event_is_completed() -> None:
    """What is sent after a cut stream begins a new event."""
    parser = SseParser()
    parser.feed(b"data: a\r")
    (event,) = parser.finish()
    assert said(read(SseParser(), [event.raw + sse(b"b").raw])) == [A, B]


def test_finish_twice() -> None:
    """The rest is given out once."""
    parser = SseParser()
    parser.feed(b"data: a")
    assert len(parser.finish()) == 1
    assert parser.finish() == []


@pytest.mark.parametrize("pieces", [1, 7, 1000])
def test_an_event_of_exactly_the_bound_passes(pieces: int) -> None:
    """The bound counts the raw bytes of one event, line ends included."""
    stream = b"data: " + b"x" * 92 + b"\n\n"
    cuts = [stream[at : at + pieces] for at in range(0, len(stream), pieces)]
    assert len(read(SseParser(max_event_bytes=100), cuts * 3)) == 3


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    "large", [b"data: " + b"x" * 93 + b"\n\n", b"y" * 500, b"data: x\n" * 50], ids=["event", "line", "lines"]
)
def test_an_event_above_the_bound_fails_after_those_before_it(large: bytes, size: int) -> None:
    """The events before it come out, then the stream is no answer, now and ever after."""
    parser = SseParser(max_event_bytes=100)
    stream = b"data: a\n\n" + large + b"data: b\n\n"
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    events: list[Event] = []
    with pytest.raises(BadAnswer, match="more than 100 bytes"):
        drain(parser, pieces, events)
    assert said(events) == [A]
    with pytest.raises(BadAnswer):
        parser.feed(b"data: b\n\n")
    with pytest.raises(BadAnswer):
        parser.finish()


def test_a_line_of_ten_megabytes() -> None:
    """A long line that comes in reads of 16 KiB is one event."""
    line = b"data: " + b"x" * 10_000_000 + b"\n\n"
    (event,) = read(SseParser(), [line[at : at + 16384] for at in range(0, len(line), 16384)])
    assert event.raw == line


def test_json_is_decoded_once_and_never_raises() -> None:
    """JSON that is no JSON reads as None, as do comments and the end."""
    event = sse(b'{"a":1}')
    assert event.json == {"a": 1}
    assert event.json is event.json
    deep = sse(b"[" * 200_000)
    assert [deep.json, comment("hi").json, sse(DONE).json, sse(b"{").json, sse(b"\xff").json] == [None] * 5


@pytest.mark.parametrize("name", ["", "error"])
@pytest.mark.parametrize("data", [b"a", b"", b"a\nb", b"a\r\nb\rc", '{"é":"水"}'.encode()])
def test_what_sse_builds_reads_back(data: bytes, name: str) -> None:
    """A built event holds what a reader of its bytes sees."""
    event = sse(data, name)
    assert seen(read(SseParser(), [event.raw])) == seen([event])
    assert event.data == data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


@pytest.mark.parametrize("text", ["keep-alive", "", "two\nlines", "a\r\n\r\ndata: b"])
def test_a_comment_says_nothing(text: str) -> None:
    """Whatever its text, a comment is one event without data."""
    events = read(SseParser(), [comment(text).raw])
    assert [event.data for event in events] == [None]


def test_error_events() -> None:
    """Each dialect's clients look for errors in another place."""
    assert error_event("chat", ERROR).raw == b"data: " + ERROR + b"\n\n"
    assert error_event("completions", ERROR).name == ""
    assert error_event("messages", ERROR).raw == b"event: error\ndata: " + ERROR + b"\n\n"
