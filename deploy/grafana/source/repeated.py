"""Panels that stand on more than one dashboard."""

from deploy.grafana.source.limit import BUDGET, ERROR_RATIO, LATENCY
from deploy.grafana.source.panel import AnyPanel, figure, graph
from deploy.grafana.source.query import JOB, MODEL, Query, or_zero, per_hour, quantiles, rate
from deploy.grafana.source.unit import MONEY, RATIO, REQUESTS, SECONDS, TOKENS_PER_S


def spent_today(*, span: int = 4) -> AnyPanel:
    """The ledger's own day."""
    return figure(
        "Spent today",
        "By the ledger, since midnight in `alerts.timezone`.",
        MONEY,
        Query(f"sum by (currency) (penstock:cost_today:sum{{{JOB}}})", "{{currency}}"),
        span=span,
    )


def fullest_budget(where: str, *, span: int = 4) -> AnyPanel:
    """One number for all of them."""
    return figure(
        "Fullest budget",
        "Used of its limit, in its present window. Yellow at 80 %, red when it is used up.",
        RATIO,
        Query(f"max(penstock:budget_used:ratio{{{where}}})", "used"),
        span=span,
        limits=BUDGET,
    )


def saved_by_lever(*, span: int = 12) -> AnyPanel:
    """Money that was not spent, over time."""
    return graph(
        "Saved per hour, by lever",
        "At the rate of the moment. A lever is what made the answer cheaper: a cache, a joined question.",
        MONEY,
        Query(or_zero(per_hour("penstock_saved_total", JOB, "lever, currency")), "{{lever}} {{currency}}"),
        span=span,
        stacked=True,
    )


def error_ratios(*, span: int = 12) -> AnyPanel:
    """As PenstockErrorRatioHigh looks at them."""
    return graph(
        "Error ratio, by model",
        "Failed of what counts: a client's own mistakes, rate limit and budget are on neither side. "
        "Nothing where nothing was served.",
        RATIO,
        Query(f"penstock:error_ratio:rate5m{{{MODEL}}}", "{{model}}"),
        span=span,
        limits=ERROR_RATIO,
    )


def latency() -> AnyPanel:
    """What clients wait."""
    return graph(
        "Latency",
        "Arrival to last byte, answers from a cache included. "
        "A dot is a request: `penstock spend show` knows its request_id.",
        SECONDS,
        *quantiles("penstock_request_duration_seconds", MODEL),
        limits=LATENCY,
    )


def tokens_by_kind() -> AnyPanel:
    """What providers count."""
    return graph(
        "Tokens, by kind",
        "As providers billed them, retries included; answers from a cache add none.",
        TOKENS_PER_S,
        Query(rate("penstock_tokens_total", MODEL, "kind"), "{{kind}}"),
        span=8,
        stacked=True,
    )


def requests_by_cache() -> AnyPanel:
    """How much was answered for nothing."""
    return graph(
        "Requests, by cache",
        "`exact`: from the cache. `joined`: shared a call under way. Both cost nothing. `off`: no cache was asked.",
        REQUESTS,
        Query(rate("penstock_requests_total", MODEL, "cache"), "{{cache}}"),
        span=8,
        stacked=True,
    )


def shed(where: str) -> AnyPanel:
    """Refused though nothing was wrong with the request."""
    return graph(
        "Refused to protect the rest",
        "By reason: docs/reference/metrics.md has each.",
        REQUESTS,
        Query(or_zero(rate("penstock_shed_total", where, "reason")), "refused {{reason}}"),
        span=8,
        stacked=True,
    )
