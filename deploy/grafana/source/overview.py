"""Money first, then whether it works."""

from deploy.grafana.source.board import MODEL as CHOOSE_MODEL
from deploy.grafana.source.board import Board
from deploy.grafana.source.limit import BUDGET, CAPACITY, ERROR_RATIO, FIRST_BYTE, LATENCY, QUEUE
from deploy.grafana.source.panel import AnyPanel, bars, figure, graph
from deploy.grafana.source.query import (
    JOB,
    MODEL,
    Query,
    in_range,
    money_share,
    or_zero,
    per_hour,
    quantile,
    rate,
    share,
)
from deploy.grafana.source.repeated import (
    error_ratios,
    fullest_budget,
    latency,
    requests_by_cache,
    saved_by_lever,
    spent_today,
    tokens_by_kind,
)
from deploy.grafana.source.unit import COUNT, MONEY, RATIO, REQUESTS, SECONDS

_ALERTS = 'ALERTS{alertname=~"Penstock.*",alertstate="firing"}'
_SAVED_A_DAY = f"sum by (currency) (penstock:saved_all:per_day{{{JOB}}})"
_BASELINE_A_DAY = f"sum by (currency) (penstock:saved_all:per_day{{{JOB}}} + penstock:cost_all:per_day{{{JOB}}})"


def overview() -> Board:
    """The first page."""
    return Board(
        "penstock-overview",
        "Penstock: Overview",
        "What is spent and saved, and whether requests are answered: well, quickly, within their budgets.",
        (CHOOSE_MODEL,),
        (
            ("Money", (*_money_figures(), *_money_graphs())),
            ("Service", (*_service_figures(), *_service_graphs())),
        ),
    )


def _money_figures() -> tuple[AnyPanel, ...]:
    return (
        figure(
            "Cost per request, last hour",
            "Per request that was answered, from a cache too.",
            MONEY,
            Query(f"penstock:cost_per_request:per_hour{{{JOB}}}", "{{currency}} {{job}}"),
        ),
        figure(
            "Spent in the last hour",
            "As counted by Prometheus; `penstock spend` is exact.",
            MONEY,
            Query(f"sum by (currency) (penstock:cost_all:per_hour{{{JOB}}})", "{{currency}}"),
        ),
        spent_today(),
        figure(
            "Saved in the last day",
            "What the same answers would have cost without Penstock, less what they did.",
            MONEY,
            Query(_SAVED_A_DAY, "{{currency}}"),
        ),
        figure(
            "Share saved, last day",
            "Saved of what it would have cost.",
            RATIO,
            Query(share(_SAVED_A_DAY, _BASELINE_A_DAY), "saved"),
        ),
        fullest_budget(JOB),
    )


def _money_graphs() -> tuple[AnyPanel, ...]:
    cost = rate("penstock_cost_total", MODEL, "currency")
    answered = rate("penstock_requests_total", f'{MODEL},outcome="ok"')
    return (
        graph(
            "Spend per hour, by model",
            "At the rate of the moment.",
            MONEY,
            Query(per_hour("penstock_cost_total", MODEL, "model, currency"), "{{model}} {{currency}}"),
            stacked=True,
        ),
        saved_by_lever(),
        graph(
            "Cost per request",
            "Per request that was answered. It falls when caches hit, and rises with longer prompts and answers.",
            MONEY,
            Query(money_share(cost, answered), "{{currency}}"),
            span=8,
        ),
        bars(
            "Saved by lever",
            "In the time shown.",
            MONEY,
            Query(or_zero(in_range("penstock_saved_total", JOB, "lever, currency")), "{{lever}} {{currency}}"),
        ),
        graph(
            "Budgets used",
            "Of the fullest account of each budget; the lines are where its alerts are.",
            RATIO,
            Query(f"penstock:budget_used:ratio{{{JOB}}}", "{{budget}}"),
            span=8,
            limits=BUDGET,
        ),
    )


def _service_figures() -> tuple[AnyPanel, ...]:
    return (
        figure(
            "Availability, last day",
            "Served of what counts: not a client's own mistakes, rate limit or budget. 99.5 % is promised (slo.yaml).",
            RATIO,
            Query(f"1 - max(penstock:slo_error_ratio:1d{{{JOB}}})", "served"),
        ),
        figure(
            "Error ratio",
            "Of the last 5 minutes: failed of what counts. Above 5 % for 5 minutes somebody is woken.",
            RATIO,
            Query(f"max(penstock:error_ratio_all:rate5m{{{JOB}}})", "failed"),
            limits=ERROR_RATIO,
        ),
        figure(
            "P95",
            "Arrival to last byte: one in twenty takes longer. Models have thresholds of their own (thresholds.yaml).",
            SECONDS,
            Query(quantile(0.95, "penstock_request_duration_seconds", MODEL), "P95"),
            limits=LATENCY,
        ),
        figure(
            "P95 of the first byte",
            "Arrival to first data event of streamed answers.",
            SECONDS,
            Query(quantile(0.95, "penstock_time_to_first_token_seconds", MODEL), "P95"),
            limits=FIRST_BYTE,
        ),
        figure(
            "Requests",
            "Per second, refused ones included.",
            REQUESTS,
            Query(rate("penstock_requests_total", MODEL), "requests"),
        ),
        figure(
            "Alerts firing",
            "Of all tiers.",
            COUNT,
            Query(or_zero(f"count({_ALERTS})"), "firing"),
        ),
    )


def _service_graphs() -> tuple[AnyPanel, ...]:
    return (
        error_ratios(),
        latency(),
        tokens_by_kind(),
        requests_by_cache(),
        graph(
            "Capacity used",
            "Requests per second of what each node was sized for, or has learned that it bears.",
            RATIO,
            Query(f"penstock:capacity_used:ratio{{{JOB}}}", "{{instance}} {{source}}"),
            span=4,
            limits=CAPACITY,
        ),
        graph(
            "Waiting",
            "For a slot of the gateway, or for a deployment. More gateways never speed a provider.",
            COUNT,
            Query(f"sum(penstock_queue_depth{{{JOB}}})", "waiting"),
            span=4,
            limits=QUEUE,
        ),
    )
