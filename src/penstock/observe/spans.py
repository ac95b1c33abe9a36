"""From an exchange that has ended and its rows to spans: one for it, one for each attempt, the stages as events."""

from collections.abc import Mapping, Sequence
from typing import Final

from penstock.core.records import AttemptRow, ExchangeRow
from penstock.core.trace import Content, Trace, span_of
from penstock.core.usage import Usage
from penstock.observe import genai
from penstock.observe.otlp import CLIENT, SERVER, Span, SpanEvent, Value, attributes, failed, flags, unix_nano

MOST_CONTENT_CHARS: Final = 32 * 1024
"""Of a prompt or an answer, where they are told at all."""
MOST_NAME_CHARS: Final = 256
"""Of what a provider calls its answer, its model or a reason."""
MOST_REASONS: Final = 16

Values = dict[str, Value | None]


def spans_of(
    trace: Trace, started: float, row: ExchangeRow, attempts: Sequence[AttemptRow], kinds: Mapping[str, str]
) -> list[Span]:
    """``started``: monotonic time of ``row.at``; ``kinds``: of providers, by name."""
    calls = [_attempt_span(trace, row, each, kinds.get(each.provider, each.provider)) for each in attempts]
    return [_exchange_span(trace, started, row), *calls]


def _exchange_span(trace: Trace, started: float, row: ExchangeRow) -> Span:
    operation = genai.operation_name(row.endpoint)
    values = _exchange_values(row, operation) | _ended(trace, row.outcome, row.usage) | _content_values(trace.content)
    return Span(
        trace_id=trace.trace_id,
        span_id=trace.span_id,
        parent_span_id=trace.parent_id,
        trace_state=trace.state,
        flags=flags(trace.flags, remote=bool(trace.parent_id)),
        name=f"{operation} {row.model}".rstrip(),
        kind=SERVER,
        start_time_unix_nano=unix_nano(row.at),
        end_time_unix_nano=unix_nano(row.at + row.duration_s),
        attributes=attributes(values),
        events=_events(trace, started, row),
        status=failed(row.outcome),
    )


def _attempt_span(trace: Trace, exchange: ExchangeRow, row: AttemptRow, kind: str) -> Span:
    operation, model = genai.operation_name(exchange.endpoint), row.deployment.partition("/")[2]
    values = _attempt_values(row, operation, model, kind) | _ended(trace, row.outcome, row.usage)
    return Span(
        trace_id=trace.trace_id,
        span_id=span_of(row.id),
        parent_span_id=trace.span_id,
        trace_state=trace.state,
        flags=flags(trace.flags, remote=False),
        name=f"{operation} {model}",
        kind=CLIENT,
        start_time_unix_nano=unix_nano(row.started_at),
        end_time_unix_nano=unix_nano(row.ended_at),
        attributes=attributes({**values, genai.CURRENCY: exchange.currency}),
        status=failed(row.outcome),
    )


def _exchange_values(row: ExchangeRow, operation: str) -> Values:
    priced = row.baseline_nano is not None and row.cost_nano is not None
    return {
        genai.OPERATION: operation,
        genai.REQUEST_MODEL: row.model,
        genai.REQUEST_STREAM: row.streamed,
        genai.HTTP_STATUS: row.status,
        genai.EXCHANGE_ID: row.id,
        genai.DEPLOYMENT: row.deployment,
        genai.CACHE: row.cache,
        genai.KEY: row.key_name,
        genai.TEAM: row.team,
        genai.DEGRADED: row.degraded,
        genai.COST: row.cost_nano,
        genai.SAVED: (row.baseline_nano or 0) - (row.cost_nano or 0) if priced else None,
        genai.CURRENCY: row.currency,
        genai.ESTIMATED: row.estimated,
        genai.OVERHEAD_S: row.overhead_s,
    }


def _attempt_values(row: AttemptRow, operation: str, model: str, kind: str) -> Values:
    return {
        genai.OPERATION: operation,
        genai.PROVIDER: genai.provider_name(kind),
        genai.REQUEST_MODEL: model,
        genai.RESPONSE_ID: row.upstream_id[:MOST_NAME_CHARS],
        genai.HTTP_STATUS: row.status or None,
        genai.ATTEMPT_ID: row.id,
        genai.DEPLOYMENT: row.deployment,
        genai.REGION: row.region,
        genai.COST: row.charged_book_nano,
        genai.ESTIMATED: row.estimated,
    }


def _ended(trace: Trace, outcome: str, usage: Usage) -> Values:
    """How it ended, and what it used, if anything. The answer is that of the call that was well."""
    values: Values = {genai.OUTCOME: outcome}
    if outcome == "ok":
        values[genai.RESPONSE_MODEL] = trace.model[:MOST_NAME_CHARS]
        values[genai.FINISH_REASONS] = tuple(reason[:MOST_NAME_CHARS] for reason in trace.reasons[:MOST_REASONS])
    else:
        values[genai.ERROR_TYPE] = outcome
    if usage.total:
        values[genai.INPUT_TOKENS], values[genai.OUTPUT_TOKENS] = usage.prompt, usage.output
        values[genai.CACHE_READ_TOKENS] = usage.input_hit or None
        values[genai.CACHE_CREATION_TOKENS] = usage.cache_write or None
        values[genai.REASONING_TOKENS] = usage.reasoning or None
    return values


def _content_values(content: Content | None) -> Values:
    if content is None:
        return {}
    asked, answered = (each[: 4 * MOST_CONTENT_CHARS].decode(errors="replace")[:MOST_CONTENT_CHARS] for each in content)
    return {genai.REQUEST_BODY: asked, genai.ANSWER_BODY: answered}


def _events(trace: Trace, started: float, row: ExchangeRow) -> list[SpanEvent]:
    events = [SpanEvent(unix_nano(row.at + at - started), genai.STAGE_EVENT + stage) for stage, at in trace.marks]
    if row.first_byte_s is not None:
        events.append(SpanEvent(unix_nano(row.at + row.first_byte_s), genai.FIRST_BYTE_EVENT))
    return events
