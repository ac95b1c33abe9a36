"""OTLP as JSON (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding): spans, histograms and their posts.

As that says: names in lowerCamelCase, trace and span ids in hexadecimal, 64-bit integers as decimal strings.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from penstock import __version__
from penstock.observe.genai import Instrument

SERVER: Final = 2
CLIENT: Final = 3
"""Kinds of spans."""
_ERROR: Final = 2
_KNOWN_WHERE: Final = 0x100
"""Of a span's flags: whether its parent is in another process is told."""
_REMOTE_PARENT: Final = 0x200
_CUMULATIVE: Final = 2
_NANO: Final = 10**9

Value = str | bool | int | float | Sequence[str]
_NONE: Final = (None, "", ())
_encode = msgspec.json.Encoder().encode
_SCOPE: Final = {"name": "penstock", "version": __version__}


class SpanStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """How it ended; unset unless it failed."""

    code: int = 0
    message: str = ""


class SpanEvent(msgspec.Struct, rename="camel"):
    """Something at one instant of a span."""

    time_unix_nano: str
    name: str


class Span(msgspec.Struct, kw_only=True, rename="camel", omit_defaults=True):
    """One span, in the words of OTLP."""

    trace_id: str
    span_id: str
    parent_span_id: str = ""
    trace_state: str = ""
    flags: int = 0
    name: str
    kind: int
    start_time_unix_nano: str
    end_time_unix_nano: str
    attributes: list[dict[str, Any]] = []
    events: list[SpanEvent] = []
    status: SpanStatus = SpanStatus()


class Point(msgspec.Struct, kw_only=True, rename="camel"):
    """A histogram of one set of attributes, since ``start_time_unix_nano``."""

    attributes: list[dict[str, Any]]
    start_time_unix_nano: str
    time_unix_nano: str
    count: str
    sum: float
    bucket_counts: list[str]
    explicit_bounds: tuple[float, ...]


def unix_nano(at: float) -> str:
    """Epoch seconds in OTLP's spelling, to the microsecond that a float has."""
    return str(round(at * 1_000_000) * (_NANO // 1_000_000))


def attributes(values: Mapping[str, Value | None]) -> list[dict[str, Any]]:
    """Attributes that have a value. Nothing in a text or a list is none."""
    return [{"key": name, "value": _value(value)} for name, value in values.items() if value not in _NONE]


def flags(trace_flags: int, *, remote: bool) -> int:
    """A span's flags: its trace's, and whether its parent is in another process."""
    return trace_flags | _KNOWN_WHERE | (_REMOTE_PARENT if remote else 0)


def failed(outcome: str) -> SpanStatus:
    """The status of what ended so."""
    return SpanStatus() if outcome == "ok" else SpanStatus(_ERROR, outcome)


def resource(values: Mapping[str, Value | None]) -> bytes:
    """Who tells, encoded once."""
    return _encode({"attributes": attributes(values)})


# --- parts, and the bodies of posts that they make


def encode_spans(spans: Sequence[Span]) -> bytes:
    """Spans as a part of a JSON array: parts joined by commas are one."""
    return _encode(spans)[1:-1]


def spans_body(who: bytes, parts: Iterable[bytes]) -> bytes:
    """``who`` by ``resource``, ``parts`` by ``encode_spans``."""
    spans, scope = b",".join(parts), _encode(_SCOPE)
    return b'{"resourceSpans":[{"resource":%b,"scopeSpans":[{"scope":%b,"spans":[%b]}]}]}' % (who, scope, spans)


def encode_point(point: Point) -> bytes:
    """A part of ``encode_metric``."""
    return _encode(point)


def encode_metric(instrument: Instrument, points: Iterable[bytes]) -> bytes:
    """A part of ``metrics_body``."""
    told = _encode({"name": instrument.name, "description": instrument.text, "unit": instrument.unit})[:-1]
    return b'%b,"histogram":{"aggregationTemporality":%d,"dataPoints":[%b]}}' % (told, _CUMULATIVE, b",".join(points))


def metrics_body(who: bytes, parts: Iterable[bytes]) -> bytes:
    """``who`` by ``resource``."""
    metrics, scope = b",".join(parts), _encode(_SCOPE)
    return b'{"resourceMetrics":[{"resource":%b,"scopeMetrics":[{"scope":%b,"metrics":[%b]}]}]}' % (who, scope, metrics)


# --- what a collector says


class _Partial(msgspec.Struct, frozen=True, rename="camel"):
    rejected_spans: int | str = 0


class _Response(msgspec.Struct, rename="camel"):
    partial_success: _Partial = _Partial()


def rejected(body: bytes) -> int:
    """How many spans a collector that took a post did not take (``partialSuccess``); 0 when it does not say."""
    try:
        return max(0, int(msgspec.json.decode(body, type=_Response).partial_success.rejected_spans))
    except (ValueError, RecursionError):  # of msgspec, too
        return 0


def _value(value: Value) -> dict[str, Any]:
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    return {"arrayValue": {"values": [{"stringValue": each} for each in value]}}
