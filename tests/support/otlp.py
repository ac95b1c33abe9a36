"""OTLP/JSON as OpenTelemetry's own messages read it: a name that they do not have, or a value of another type, fails.

The JSON of OTLP is that of protobuf, except that ids are hexadecimal; ``Told`` is what a collector was told so far.
"""

import base64
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE, HistogramDataPoint
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from penstock.errors import Unreachable
from penstock.ports.telemetry import CollectorAnswer

TRACES, METRICS = "/v1/traces", "/v1/metrics"
_IDS = {"traceId": 32, "spanId": 16, "parentSpanId": 16}


@dataclass
class Told:
    """All spans, each once though it be told twice, and each metric as it was told last."""

    resources: list[dict[str, Any]] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    points: dict[str, list[HistogramDataPoint]] = field(default_factory=dict)

    def take(self, path: str, body: bytes) -> None:
        """One post. Raises ParseError, AssertionError where it is no OTLP."""
        document = _with_binary_ids(json.loads(body))
        if path == TRACES:
            self._take_traces(ParseDict(document, ExportTraceServiceRequest()))
        else:
            assert path == METRICS
            self._take_metrics(ParseDict(document, ExportMetricsServiceRequest()))

    def span(self, exchange_id: str) -> Span:
        """The one of an exchange."""
        (found,) = [span for span in self.spans if values(span.attributes).get("penstock.exchange.id") == exchange_id]
        return found

    def calls_of(self, span: Span) -> list[Span]:
        """The spans below it, as they began."""
        below = [each for each in self.spans if each.parent_span_id == span.span_id]
        return sorted(below, key=lambda each: each.start_time_unix_nano)

    def point(self, metric: str, attributes: Mapping[str, object]) -> HistogramDataPoint:
        """The one point of a metric that has these attributes."""
        (found,) = [each for each in self.points[metric] if attributes.items() <= values(each.attributes).items()]
        return found

    def _take_traces(self, request: ExportTraceServiceRequest) -> None:
        for each in request.resource_spans:
            self.resources.append(values(each.resource.attributes))
            known = {span.span_id for span in self.spans}
            spans = [span for scope in each.scope_spans for span in scope.spans]
            self.spans += [span for span in spans if span.span_id not in known]

    def _take_metrics(self, request: ExportMetricsServiceRequest) -> None:
        for each in request.resource_metrics:
            self.resources.append(values(each.resource.attributes))
            for metric in [metric for scope in each.scope_metrics for metric in scope.metrics]:
                assert metric.histogram.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
                self.points[metric.name] = list(metric.histogram.data_points)


class KeptCollector:
    """A collector in process: it keeps what it is told, and answers as the test says."""

    def __init__(self) -> None:
        self.told = Told()
        self.answers: list[CollectorAnswer | None] = []
        """The next ones, None = it cannot be reached; then it takes everything."""
        self.posts: list[str] = []

    async def post(self, path: str, body: bytes) -> CollectorAnswer:
        """Keep what it takes."""
        self.posts.append(path)
        answer = self.answers.pop(0) if self.answers else CollectorAnswer(200, b"{}")
        if answer is None:
            raise Unreachable("the telemetry collector cannot be reached")
        if answer.status == 200:
            self.told.take(path, body)
        return answer


def values(attributes: Iterable[KeyValue]) -> dict[str, Any]:
    """Attributes by name. One that stands there twice is a mistake."""
    found = [(each.key, _value(each.value)) for each in attributes]
    assert len({name for name, _ in found}) == len(found)
    return dict(found)


def traceparent(span: Span) -> Mapping[str, str]:
    """What a provider is told whose span is to be below this one."""
    return {"traceparent": f"00-{span.trace_id.hex()}-{span.span_id.hex()}-{span.flags & 0xFF:02x}"}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    assert kind is not None
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind)


def _with_binary_ids(value: Any) -> Any:
    """With the ids as the JSON of protobuf has bytes."""
    if isinstance(value, list):
        return [_with_binary_ids(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {name: _binary(name, each) if name in _IDS else _with_binary_ids(each) for name, each in value.items()}


def _binary(name: str, text: str) -> str:
    assert re.fullmatch(rf"[0-9a-f]{{{_IDS[name]}}}", text)
    return base64.b64encode(bytes.fromhex(text)).decode()
