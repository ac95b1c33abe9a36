"""Who asks for what, and how long it takes."""

from deploy.grafana.source.board import MODEL as CHOOSE_MODEL
from deploy.grafana.source.board import Board
from deploy.grafana.source.limit import AVAILABILITY_BURN, FIRST_BYTE, FIRST_BYTE_BURN
from deploy.grafana.source.panel import AnyPanel, graph, spread
from deploy.grafana.source.query import JOB, MODEL, Query, or_zero, quantile, quantiles, rate, share
from deploy.grafana.source.repeated import error_ratios, latency, requests_by_cache, shed, tokens_by_kind
from deploy.grafana.source.unit import COUNT, RATIO, REQUESTS, SECONDS, TOKENS_PER_S

_DURATION = "penstock_request_duration_seconds"
_FIRST = "penstock_time_to_first_token_seconds"
_FAILURES_ALLOWED = 0.005
_LATE_ALLOWED = 0.05


def traffic() -> Board:
    """Requests, their latencies, their tokens, and the two promises."""
    return Board(
        "penstock-traffic",
        "Penstock: Traffic and latency",
        "Requests by model, outcome and cache; how long they take and when they begin; tokens; burnt promises.",
        (CHOOSE_MODEL,),
        (
            ("Traffic", _traffic()),
            ("Latency", _latency()),
            ("First byte", _first_byte()),
            ("Tokens", _tokens()),
            ("Promises", _promises()),
        ),
    )


def _traffic() -> tuple[AnyPanel, ...]:
    failed = rate("penstock_requests_total", f'{MODEL},outcome!="ok"', "outcome")
    return (
        graph(
            "Requests, by model",
            "Requests that ended, refused ones included.",
            REQUESTS,
            Query(rate("penstock_requests_total", MODEL, "model"), "{{model}}"),
            span=8,
            stacked=True,
        ),
        graph(
            "Not answered, by outcome",
            "Every outcome but `ok`, whoever is to blame: docs/reference/errors.md has each.",
            REQUESTS,
            Query(or_zero(failed), "not answered {{outcome}}"),
            span=8,
            stacked=True,
        ),
        requests_by_cache(),
        error_ratios(span=8),
        shed(JOB),
        graph(
            "Under way and waiting",
            "Waiting ones are under way too.",
            COUNT,
            Query(f"sum(penstock_active_requests{{{JOB}}})", "under way"),
            Query(f"sum(penstock_queue_depth{{{JOB}}})", "waiting"),
            span=8,
        ),
    )


def _latency() -> tuple[AnyPanel, ...]:
    return (
        latency(),
        spread("Latencies", "How many requests took how long.", _DURATION, MODEL),
        graph(
            "P95, by model",
            "With what each is held to: its entry in thresholds.yaml, or 5 s; of a model that thinks only an entry.",
            SECONDS,
            Query(quantile(0.95, _DURATION, MODEL, "model"), "{{model}}", exemplars=True),
            Query(f"max by (model) (penstock:latency_threshold:seconds{{{MODEL}}})", "{{model}} is held to"),
        ),
        graph(
            "P95, by cache",
            "Hits are quick, whatever the provider does.",
            SECONDS,
            Query(quantile(0.95, _DURATION, MODEL, "cache"), "{{cache}}", exemplars=True),
        ),
    )


def _first_byte() -> tuple[AnyPanel, ...]:
    return (
        graph(
            "First byte",
            "Arrival to first data event, streamed answers only.",
            SECONDS,
            *quantiles(_FIRST, MODEL),
            span=8,
            limits=FIRST_BYTE,
        ),
        spread("First bytes", "How many streams began after how long.", _FIRST, MODEL, span=8),
        graph(
            "P95 of the first byte, by model",
            "With what models that think, and those with an entry in thresholds.yaml, are held to.",
            SECONDS,
            Query(quantile(0.95, _FIRST, MODEL, "model"), "{{model}}", exemplars=True),
            Query(f"max by (model) (penstock:first_byte_threshold:seconds{{{MODEL}}})", "{{model}} is held to"),
            span=8,
        ),
    )


def _tokens() -> tuple[AnyPanel, ...]:
    reasoning = rate("penstock_reasoning_tokens_total", MODEL, "model")
    output = rate("penstock_tokens_total", f'{MODEL},kind="output"', "model")
    return (
        tokens_by_kind(),
        graph(
            "Output tokens, by model",
            "The dearest kind.",
            TOKENS_PER_S,
            Query(output, "{{model}}"),
            span=8,
            stacked=True,
        ),
        graph(
            "Share of reasoning, by model",
            "The part of the output that was spent on reasoning.",
            RATIO,
            Query(share(f"{reasoning} or 0 * {output}", output), "{{model}}"),
            span=8,
        ),
    )


def _promises() -> tuple[AnyPanel, ...]:
    return (
        graph(
            "Burn of availability",
            "Failures per failures allowed (0.5 %): at 1 the allowance of 30 days lasts 30 days.",
            COUNT,
            *_burn("penstock:slo_error_ratio", _FAILURES_ALLOWED),
            limits=AVAILABILITY_BURN,
        ),
        graph(
            "Burn of the first byte",
            "Streams that begin after 10 s per such streams allowed (5 %).",
            COUNT,
            *_burn("penstock:slo_late_ratio", _LATE_ALLOWED),
            limits=FIRST_BYTE_BURN,
        ),
    )


def _burn(ratio: str, allowed: float) -> tuple[Query, ...]:
    return tuple(
        Query(f"max({ratio}:{window}{{{JOB}}}) / {allowed}", f"over {window}") for window in ("5m", "1h", "6h", "1d")
    )
