"""What spans say of an exchange and its attempts, as OpenTelemetry reads it."""

from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from penstock.core.records import AttemptRow
from penstock.core.trace import Content, Trace, TraceContext, begin, span_of
from penstock.core.usage import Usage
from penstock.observe.otlp import encode_spans, resource, spans_body
from penstock.observe.spans import MOST_CONTENT_CHARS, spans_of
from tests.support.ledger_rows import AT, attempt_row, exchange_row
from tests.support.otlp import TRACES, Told, traceparent, values

PARENT = TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", 1, "a=1")
USAGE = Usage(100, 20, 3, 30, 7)


def told(trace: Trace, *attempts: AttemptRow, **fields: Any) -> list[Span]:
    """The spans of one exchange, arrived at 5 s of the monotonic clock."""
    row = exchange_row("req_1", **fields)
    seen = Told()
    encoded = encode_spans(spans_of(trace, 5.0, row, attempts, {"kimi": "moonshot"}))
    seen.take(TRACES, spans_body(resource({"service.name": "penstock"}), [encoded]))
    assert seen.resources == [{"service.name": "penstock"}]
    return seen.spans


def test_an_exchange_and_its_call_are_spans_of_the_callers_trace() -> None:
    """The call under the exchange, by the id that the provider was told; the exchange under its caller."""
    trace = begin(PARENT, "req_1", 0.0)
    trace.marks.append(("admit", 5.25))
    exchange, call = told(trace, attempt_row("att_1", "req_1"), first_byte_s=0.3, duration_s=0.5)
    assert exchange.parent_span_id.hex() == PARENT.span_id
    assert (exchange.kind, call.kind) == (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT)
    assert call.parent_span_id == exchange.span_id
    assert traceparent(call) == {"traceparent": f"00-{PARENT.trace_id}-{span_of('att_1')}-01"}
    assert {each.trace_state for each in (exchange, call)} == {"a=1"}
    assert [each.flags >> 8 for each in (exchange, call)] == [3, 1]
    arrived = int(AT) * 10**9
    assert (exchange.start_time_unix_nano, exchange.end_time_unix_nano) == (arrived, arrived + 5 * 10**8)
    assert [(event.name, event.time_unix_nano - arrived) for event in exchange.events] == [
        ("penstock.stage.admit", 25 * 10**7),
        ("penstock.first_byte", 3 * 10**8),
    ]


def test_spans_say_what_was_asked_answered_used_and_paid() -> None:
    """In the conventions' words, and in ours for what they do not know."""
    trace = begin(PARENT, "req_1", 0.0)
    trace.model, trace.reasons = "kimi-k2-0905", ("stop",)
    paid = attempt_row(
        "att_1", "req_1", provider="kimi", deployment="kimi/k2", upstream_id="c-1", status=200, usage=USAGE,
        charged_book_nano=70,
    )  # fmt: skip
    said = {"usage": USAGE, "cost_nano": 70, "baseline_nano": 100, "cache": "miss", "deployment": "kimi/k2"}
    exchange, call = told(trace, paid, model="m", key_name="web", team="shop", **said)
    used = {
        "gen_ai.usage.input_tokens": 123, "gen_ai.usage.output_tokens": 30,
        "gen_ai.usage.cache_read.input_tokens": 20, "gen_ai.usage.cache_creation.input_tokens": 3,
        "gen_ai.usage.reasoning.output_tokens": 7, "gen_ai.response.model": "kimi-k2-0905",
        "gen_ai.response.finish_reasons": ["stop"], "gen_ai.operation.name": "chat", "penstock.outcome": "ok",
        "penstock.cost_nano": 70, "penstock.currency": "CNY", "penstock.deployment": "kimi/k2",
        "http.response.status_code": 200, "penstock.usage.estimated": False,
    }  # fmt: skip
    assert (exchange.name, call.name) == ("chat m", "chat k2")
    assert values(exchange.attributes) == {
        **used, "gen_ai.request.model": "m", "gen_ai.request.stream": False, "penstock.exchange.id": "req_1",
        "penstock.saved_nano": 30, "penstock.cache": "miss", "penstock.key": "web", "penstock.team": "shop",
        "penstock.overhead_s": 0.0,
    }  # fmt: skip
    assert values(call.attributes) == {
        **used, "gen_ai.request.model": "k2", "gen_ai.provider.name": "moonshot_ai", "gen_ai.response.id": "c-1",
        "penstock.attempt.id": "att_1",
    }  # fmt: skip


def test_what_failed_says_how() -> None:
    """And what the answer said is not said of the call that failed."""
    trace = begin(PARENT, "req_1", 0.0)
    trace.model = "flash-1"
    _, failed, well = told(trace, attempt_row("att_1", "req_1", outcome="provider_busy"), attempt_row("att_2", "req_1"))
    assert (failed.status.code, failed.status.message) == (Status.STATUS_CODE_ERROR, "provider_busy")
    assert values(failed.attributes)["error.type"] == "provider_busy"
    assert "gen_ai.response.model" not in values(failed.attributes)
    assert well.status.code == Status.STATUS_CODE_UNSET
    assert values(well.attributes)["gen_ai.response.model"] == "flash-1"


def test_what_has_no_price_has_no_cost() -> None:
    """Unpriced and free are different."""
    (exchange,) = told(begin(PARENT, "req_1", 0.0), cost_nano=None, baseline_nano=7)
    assert not {"penstock.cost_nano", "penstock.saved_nano"} & values(exchange.attributes).keys()


def test_what_was_said_is_told_only_where_the_trace_holds_it() -> None:
    """And then no more of it than there is room for."""
    trace = begin(PARENT, "req_1", 0.0)
    (bare,) = told(trace)
    trace.content = Content(b'{"secret":1}', "é".encode() * 100_000 + b"\xff")
    (full,) = told(trace)
    assert "penstock.request.body" not in values(bare.attributes)
    assert values(full.attributes)["penstock.request.body"] == '{"secret":1}'
    assert values(full.attributes)["penstock.answer.body"] == "é" * MOST_CONTENT_CHARS
