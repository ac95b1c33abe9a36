"""The providers' side: models, their deployments, the accounts."""

from deploy.grafana.source.board import DEPLOYMENT as CHOOSE_DEPLOYMENT
from deploy.grafana.source.board import MODEL as CHOOSE_MODEL
from deploy.grafana.source.board import Board
from deploy.grafana.source.limit import DRIFT, PRICE_AGE
from deploy.grafana.source.panel import AnyPanel, bars, graph, states
from deploy.grafana.source.query import (
    DEPLOYMENT,
    JOB,
    MODEL,
    Query,
    by_model,
    in_range,
    of_models,
    or_zero,
    rate,
    share,
)
from deploy.grafana.source.unit import COUNT, MONEY, RATIO, REQUESTS, SECONDS


def fleet() -> Board:
    """Who is up, who is asked, and what is left in the accounts."""
    return Board(
        "penstock-fleet",
        "Penstock: Fleet",
        "Models and deployments: up or out, calls and failures, how full they are. Accounts: balances and prices.",
        (CHOOSE_MODEL, CHOOSE_DEPLOYMENT),
        (("Up or out", _up()), ("Calls", _calls()), ("Load", _load()), ("Accounts", _accounts())),
    )


def _up() -> tuple[AnyPanel, ...]:
    return (
        states(
            "Models",
            "Out: none of its deployments is up, at one node at least.",
            Query(f"min by (model) (penstock_model_up{{{MODEL}}})", "{{model}}"),
            span=8,
        ),
        states(
            "Deployments",
            "By the models that they serve. Out: it or its account is left alone, or on trial, at one node at least.",
            Query(
                of_models(f"min by (deployment) (penstock_deployment_up{{{DEPLOYMENT}}})"), "{{model}}: {{deployment}}"
            ),
            span=8,
        ),
        states(
            "Centres",
            "At an edge: whether its central Penstock is heard. Nothing where there is none.",
            Query(f"min by (provider) (penstock_centre_up{{{JOB}}})", "{{provider}}"),
            span=8,
        ),
    )


def _calls() -> tuple[AnyPanel, ...]:
    failed = rate("penstock_attempts_total", f'{DEPLOYMENT},outcome!="ok"', "deployment, outcome")
    return (
        graph(
            "Calls, by deployment",
            "To providers, retries included.",
            REQUESTS,
            Query(rate("penstock_attempts_total", DEPLOYMENT, "deployment"), "{{deployment}}"),
            stacked=True,
        ),
        graph(
            "Calls that did not succeed",
            "By outcome. `provider_*` are the provider's faults, and what a breaker counts.",
            REQUESTS,
            Query(or_zero(failed), "failed {{deployment}} {{outcome}}"),
            stacked=True,
        ),
        graph(
            "Failure ratio, by deployment",
            "The provider's faults of all calls; nothing where nothing was called.",
            RATIO,
            Query(f"penstock:attempt_failure_ratio:rate5m{{{DEPLOYMENT}}}", "{{deployment}}"),
        ),
        graph(
            "Calls per request",
            "Of requests that no cache answered: 1 = nothing was retried. Retries are bounded to a fifth.",
            COUNT,
            Query(f"penstock:attempts_per_request:rate5m{{{JOB}}}", "{{job}}"),
        ),
    )


def _load() -> tuple[AnyPanel, ...]:
    in_flight, limit = (
        f"sum by (deployment) (penstock_deployment_{each}{{{DEPLOYMENT}}})" for each in ("in_flight", "limit")
    )
    return (
        graph(
            "Used, by model",
            "Calls under way at its deployments, whichever model they are for, of those that these may have at once.",
            RATIO,
            Query(share(by_model(in_flight), by_model(limit)), "{{model}}"),
            span=6,
        ),
        graph(
            "Used of what it may have at once",
            "Calls under way of those that its account allows and that it bears, as learned so far.",
            RATIO,
            Query(f"penstock:deployment_used:ratio{{{DEPLOYMENT}}}", "{{deployment}}"),
            span=6,
        ),
        graph(
            "Calls under way",
            "By deployment, with what each may have.",
            COUNT,
            Query(in_flight, "{{deployment}}"),
            Query(limit, "{{deployment}} may have"),
            span=6,
        ),
        graph(
            "First byte, as learned",
            "How long streams there have taken to begin lately: what routing by latency goes by.",
            SECONDS,
            Query(f"max by (deployment) (penstock_deployment_first_byte_seconds{{{DEPLOYMENT}}})", "{{deployment}}"),
            span=6,
        ),
    )


def _accounts() -> tuple[AnyPanel, ...]:
    overruns = in_range("penstock_overruns_total", DEPLOYMENT, "deployment")
    return (
        graph(
            "Account balance",
            "As the provider says, and below which PenstockAccountBalanceLow fires. Only of providers that tell it.",
            MONEY,
            Query(f"min by (provider, currency) (penstock_account_balance{{{JOB}}})", "{{provider}} {{currency}}"),
            Query(
                f"max by (provider, currency) (penstock_account_balance_low{{{JOB}}})",
                "{{provider}} {{currency}} is low",
            ),
            span=8,
        ),
        graph(
            "Ledger drift",
            "What the balance fell by against what the ledger charged there today, as a share of it.",
            RATIO,
            Query(f"max by (provider) (penstock_ledger_drift_ratio{{{JOB}}})", "{{provider}}"),
            span=8,
            limits=DRIFT,
        ),
        bars(
            "Age of prices",
            "Since the oldest entry in use was confirmed; 60 days are old.",
            SECONDS,
            Query(f"max by (provider) (penstock_price_age_seconds{{{JOB}}})", "{{provider}}"),
            span=4,
            limits=PRICE_AGE,
        ),
        bars(
            "Calls billed beyond what was held",
            "In the time shown: providers that do not keep to their cap.",
            COUNT,
            Query(or_zero(overruns), "overrun {{deployment}}"),
            span=4,
        ),
    )
