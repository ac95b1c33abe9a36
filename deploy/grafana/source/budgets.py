"""Limits: of money and tokens, and of keys."""

from deploy.grafana.source.board import BUDGET as CHOOSE_BUDGET
from deploy.grafana.source.board import Board
from deploy.grafana.source.limit import BUDGET as USED
from deploy.grafana.source.limit import PROJECTED
from deploy.grafana.source.panel import AnyPanel, bars, figure, graph
from deploy.grafana.source.query import BUDGET, JOB, Query, in_range, or_zero, rate
from deploy.grafana.source.repeated import fullest_budget, spent_today
from deploy.grafana.source.unit import COUNT, MONEY, RATIO, REQUESTS, SECONDS

_BY_LIMITS = 'outcome=~"budget_exceeded|cost_unbounded|rate_limited"'
_BY_KEYS = 'outcome=~"invalid_api_key|model_forbidden|keys_unavailable"'


def budgets() -> Board:
    """How far each budget is used, where it ends, who was refused."""
    return Board(
        "penstock-budgets",
        "Penstock: Budgets and keys",
        "Budgets: used, projected, refused. Today by the ledger. Keys: refusals, how fresh they are. "
        "Names of keys, users and teams are never labels: `penstock budgets` and `penstock spend` have them.",
        (CHOOSE_BUDGET,),
        (("Today", _today()), ("Budgets", _budgets()), ("Spend", _spend()), ("Keys and limits", _keys())),
    )


def _today() -> tuple[AnyPanel, ...]:
    return (
        spent_today(span=6),
        figure(
            "Tokens today",
            "By the ledger, with `alerts.tokens_per_day` where it is set.",
            COUNT,
            Query(f"sum(penstock:tokens_today:sum{{{JOB}}})", "today"),
            Query(f"sum(max by (job) (penstock_tokens_per_day_limit{{{JOB}}}))", "limit"),
            span=6,
        ),
        fullest_budget(BUDGET, span=6),
        figure(
            "Avoided in the last day",
            "What refused requests would have cost. Never a part of what was saved.",
            MONEY,
            Query(or_zero(f"sum by (currency) (penstock:avoided:per_day{{{JOB}}})"), "{{currency}}"),
            span=6,
        ),
    )


def _budgets() -> tuple[AnyPanel, ...]:
    alerts = in_range("penstock_budget_alerts_total", BUDGET, "budget")
    lent = in_range("penstock_overspent_slices_total", BUDGET, "budget")
    return (
        bars(
            "Used",
            "Posted of its limit, of the fullest account of each budget.",
            RATIO,
            Query(f"max by (budget) (penstock:budget_used:ratio{{{BUDGET}}})", "{{budget}}"),
            limits=USED,
        ),
        graph(
            "Used, over time",
            "It falls when a window begins anew.",
            RATIO,
            Query(f"max by (budget) (penstock:budget_used:ratio{{{BUDGET}}})", "{{budget}}"),
            span=8,
            limits=USED,
        ),
        graph(
            "Projected to the end of the window",
            "Used per part of the window that has passed: 1 = just used up. Nothing in a window's first tenth.",
            RATIO,
            Query(f"max by (budget) (penstock:budget_projected:ratio{{{BUDGET}}})", "{{budget}}"),
            span=8,
            limits=PROJECTED,
        ),
        graph(
            "Burnt per hour",
            "What the last hour took of the limit.",
            RATIO,
            Query(f"max by (budget) (penstock:budget_burn:per_hour{{{BUDGET}}})", "{{budget}}"),
            span=8,
        ),
        graph(
            "Window gone by",
            "Of the present window; none of a budget for all time.",
            RATIO,
            Query(f"max by (budget) (penstock_budget_window_elapsed_ratio{{{BUDGET}}})", "{{budget}}"),
            span=8,
        ),
        bars(
            "Alerts reached",
            "In the time shown: how often an account reached one of its budget's fractions.",
            COUNT,
            Query(or_zero(alerts), "alerts {{budget}}"),
            span=4,
        ),
        bars(
            "Given while nobody lent",
            "Slices, in the time shown: only where `shared.on_failure` is `answer`.",
            COUNT,
            Query(or_zero(lent), "slices {{budget}}"),
            span=4,
        ),
    )


def _spend() -> tuple[AnyPanel, ...]:
    return (
        graph(
            "Spent per hour, against past days",
            "The last hour, the median of the same hour on past days, and the most that is still usual: "
            "PenstockSpendAnomaly fires above it.",
            MONEY,
            Query(f"sum by (currency) (penstock:cost_all:per_hour{{{JOB}}})", "{{currency}} last hour"),
            Query(f"sum by (currency) (penstock:cost_same_hour:median{{{JOB}}})", "{{currency}} usual"),
            Query(f"sum by (currency) (penstock:cost_same_hour:most{{{JOB}}})", "{{currency}} most"),
        ),
        graph(
            "Spent in the day before, by model",
            "As counted by Prometheus; `penstock spend` is exact.",
            MONEY,
            Query(f"sum by (model, currency) (penstock:cost:per_day{{{JOB}}})", "{{model}} {{currency}}"),
            stacked=True,
        ),
    )


def _keys() -> tuple[AnyPanel, ...]:
    return (
        graph(
            "Refused by a limit",
            "Budgets, costs that nobody can bound, rates of keys.",
            REQUESTS,
            Query(or_zero(rate("penstock_requests_total", f"{JOB},{_BY_LIMITS}", "outcome")), "refused {{outcome}}"),
            span=8,
            stacked=True,
        ),
        graph(
            "Refused for their key",
            "Unknown or revoked keys, models that a key may not use, keys that cannot be looked up.",
            REQUESTS,
            Query(or_zero(rate("penstock_requests_total", f"{JOB},{_BY_KEYS}", "outcome")), "refused {{outcome}}"),
            span=8,
            stacked=True,
        ),
        graph(
            "Age of the keys",
            "Since the store last said which keys there are: about a second, and more while it is away.",
            SECONDS,
            Query(f"max by (instance) (penstock_keys_age_seconds{{{JOB}}})", "{{instance}}"),
            span=8,
        ),
    )
