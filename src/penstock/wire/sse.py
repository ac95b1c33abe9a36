"""Server-sent events: one event with the bytes it came in, and the parser that cuts a stream into them.

The parser is a function of the bytes alone: however a stream is split into reads, the same events come out, and
their ``raw`` joined is the stream. That needs one rule where the format is ambiguous under splitting, a blank line
that is a lone CR so far:

    the line before it ended with   the blank line is
    LF or CR                        that CR, at once; a following LF is a blank line of its own
    CRLF                            that CR and a following LF; nothing is decided before the next byte

So a stream of CRLFs keeps its pairs together, and a stream of CRs never waits for a byte that may not come. A blank
line on its own is an event without data, like a comment.

The format: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream (``id`` and
``retry`` mean nothing to us and stay in ``raw``).
"""

import itertools
import re
from typing import Any, Final

import msgspec

from penstock.errors import BadAnswer

DONE: Final = b"[DONE]"
MAX_EVENT_BYTES: Final = 16 * 1024 * 1024

_UNREAD: Final = object()
_BOM: Final = b"\xef\xbb\xbf"
_USUAL: Final = b"data: "
_BREAK: Final = re.compile(rb"\r\n|\r|\n")
_END: Final = re.compile(rb"\r\n(?:\r\n|\r(?=[^\n])|\n)|\r\r|\n(?<!\r\n)[\r\n]")
"""A line's end and the blank line after it: the table above."""
_LONGEST_END: Final = 4
_decode = msgspec.json.Decoder().decode


class Event:
    """One event of a stream, or one whole answer, with the bytes it came in.

    ``raw`` is what is sent on, untouched unless a tap replaces the event. ``data`` is None for a comment (a provider's
    keep-alive); ``name`` is the ``event:`` field. ``json`` decodes ``data`` once, however many stages look.
    """

    __slots__ = ("_json", "data", "name", "raw", "whole")

    def __init__(self, raw: bytes, data: bytes | None, name: str = "", *, whole: bool = False) -> None:
        """``whole``: the bytes are a whole answer, not a piece of a stream."""
        self.raw = raw
        self.data = data
        self.name = name
        self.whole = whole
        self._json: Any = _UNREAD

    @property
    def json(self) -> Any:
        """The decoded data; None when there is none, it is ``[DONE]``, or it is not JSON."""
        if self._json is _UNREAD:
            self._json = _read(self.data)
        return self._json

    @property
    def done(self) -> bool:
        """The ``[DONE]`` that ends an OpenAI stream."""
        return self.data == DONE


class SseParser:
    """Cuts bytes into events. An event above ``max_event_bytes`` raises BadAnswer, once those before it are out."""

    __slots__ = ("_at_start", "_failed", "_max", "_pending", "_seen")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        """``max_event_bytes``: the bound of one event with its line ends, and so of what is ever held back."""
        self._max = max_event_bytes
        self._pending = bytearray()
        self._seen = 0
        self._at_start = True
        self._failed = False

    def feed(self, data: bytes) -> list[Event]:
        """The events that ``data`` completes. Raises BadAnswer when one is too large, and ever after."""
        self._fail_if_failed()
        size = len(data)
        if self._pending:
            self._pending += data
            size = len(self._pending)
            if not _ends_an_event(self._pending, self._seen):
                self._seen = max(0, size - _LONGEST_END + 1)
                return self._bounded([], size)
            data = bytes(self._pending)
            self._pending.clear()
        events: list[Event] = []
        rest = self._cut(data, events) if b"\r" in data else self._cut_plain(data, events)
        if rest < size:
            self._pending += data[rest:]
            self._seen = 0
        if events:
            self._at_start = False
        return events if size <= self._max else self._bounded(events, size - rest)

    def finish(self) -> list[Event]:
        """At the end of the stream: the event nobody ended, completed with a blank line."""
        self._fail_if_failed()
        rest = bytes(self._pending)
        self._pending.clear()
        if not rest:
            return []
        return [self._parsed(rest + (b"\n" if rest.endswith(b"\n") else b"\n\n"), at_start=self._at_start)]

    def _cut_plain(self, data: bytes, events: list[Event]) -> int:
        """Append the events of a stretch without CRs; return where the unfinished rest begins."""
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            if data.startswith(_USUAL, start) and data[end + 1 : end + 2] == b"\n":
                after = end + 2
                events.append(Event(data[start:after], data[start + 6 : end]))
            elif end == start:
                after = end + 1
                events.append(Event(b"\n", None))
            else:
                end = data.find(b"\n\n", end)
                if end < 0:
                    break
                after = end + 2
                events.append(self._parsed(data[start:after], at_start=self._at_start and start == 0))
            start = after
        return start

    def _cut(self, data: bytes, events: list[Event]) -> int:
        """Append the events of any stretch; return where the unfinished rest begins."""
        start = 0
        while start < len(data):
            if data[start] in b"\r\n":
                after = start + 1
                events.append(Event(data[start:after], None))
            else:
                found = _END.search(data, start)
                if found is None:
                    break
                after = found.end()
                events.append(self._parsed(data[start:after], at_start=self._at_start and start == 0))
            start = after
        return start

    def _parsed(self, raw: bytes, *, at_start: bool) -> Event:
        lines = raw.removeprefix(_BOM) if at_start else raw
        name = ""
        data = None
        for line in _BREAK.split(lines) if b"\r" in lines else lines.split(b"\n"):
            field, _, value = line.partition(b":")
            if field == b"data":
                value = value.removeprefix(b" ")
                data = value if data is None else data + b"\n" + value
            elif field == b"event":
                name = value.removeprefix(b" ").decode("utf-8", "replace")
        return Event(raw, data, name)

    def _bounded(self, events: list[Event], pending: int) -> list[Event]:
        """The events before the first one that is too large; the failure is raised as soon as there are none."""
        small = list(itertools.takewhile(lambda event: len(event.raw) <= self._max, events))
        self._failed = len(small) < len(events) or pending > self._max
        if self._failed:
            self._pending.clear()
        if not small:
            self._fail_if_failed()
        return small

    def _fail_if_failed(self) -> None:
        if self._failed:
            raise BadAnswer(f"The provider sent a stream event of more than {self._max} bytes.")


def sse(data: bytes, name: str = "") -> Event:
    """An event that says ``data``, under ``name`` when one is given."""
    head = f"event: {name}\n".encode() if name else b""
    if b"\n" not in data and b"\r" not in data:
        return Event(b"%bdata: %b\n\n" % (head, data), data, name)
    lines = _BREAK.split(data)
    return Event(head + b"".join(b"data: %b\n" % line for line in lines) + b"\n", b"\n".join(lines), name)


def comment(text: str) -> Event:
    """A line that clients skip, to show that the connection lives."""
    return Event(f": {' '.join(text.split())}\n\n".encode(), None)


def error_event(dialect: str, body: bytes) -> Event:
    """The error ``body``, already in the dialect's shape, on a stream that has begun."""
    return sse(body, "error" if dialect == "messages" else "")


def _ends_an_event(buffer: bytearray, start: int) -> bool:
    return buffer.find(b"\n\n", start) >= 0 or (
        buffer.find(b"\r", start) >= 0 and _END.search(buffer, start) is not None
    )


def _read(data: bytes | None) -> Any:
    if not data or data == DONE:
        return None
    try:
        return _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
