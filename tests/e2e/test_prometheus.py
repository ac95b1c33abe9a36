"""A real Prometheus with the committed files scrapes a real Penstock, and writes to places for long histories."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from math import nan
from typing import Any, Final, NamedTuple

import pytest

from tests.support.gateway_process import GatewayProcess, gateway_process, wait_for
from tests.support.metrics_text import samples
from tests.support.plain_gateway import ask
from tests.support.prometheus_server import (
    MetricsServer,
    PrometheusServer,
    prometheus_receiver,
    prometheus_server,
    remote_write,
    victoria_metrics,
)

pytestmark = pytest.mark.e2e

LONG_S: Final = 60.0
OF_THE_CLOCK: Final = {"PenstockDown", "PenstockLatencyHigh", "PenstockOverheadHigh", "PenstockPricesOld"}
"""A machine that stalls misses a scrape, or answers late; and prices grow old."""
MODEL: Final = "sim-chat"


class Watched(NamedTuple):
    """A gateway, who scrapes it, and to whom that writes."""

    gateway: GatewayProcess
    prometheus: PrometheusServer
    receivers: dict[str, MetricsServer]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """One of each, which has asked the simulated provider some questions, and some of them twice."""
    with ExitStack() as stack:
        receivers: dict[str, MetricsServer] = {
            "victoriametrics": stack.enter_context(victoria_metrics(tmp_path_factory.mktemp("victoria"))),
            "mimir": stack.enter_context(prometheus_receiver(tmp_path_factory.mktemp("mimir"))),
            "thanos": stack.enter_context(prometheus_receiver(tmp_path_factory.mktemp("thanos"))),
        }
        writes = [
            each for name, place in receivers.items() for each in remote_write(name, f"{place.origin}/api/v1/write")
        ]
        directory = tmp_path_factory.mktemp("gateway")
        gateway = stack.enter_context(gateway_process(directory, budgets=[_budget()], limits={"capacity": 50}))
        targets = [f"127.0.0.1:{gateway.admin_port}"]
        prometheus = stack.enter_context(
            prometheus_server(tmp_path_factory.mktemp("prometheus"), targets, write_to=writes)
        )
        wait_for(lambda: prometheus.query("up == 1"), "the first scrape", LONG_S)
        made = Watched(gateway, prometheus, receivers)
        _ask_twice(made)
        yield made


def _budget() -> dict[str, Any]:
    return {"name": "all", "scope": "global", "limit": "1000 CNY", "window": "month", "timezone": "Asia/Shanghai"}


def _ask_twice(watched: Watched) -> None:
    """The first time makes the series begin; what comes later is what rates can see."""
    for turn in range(2):
        for text in [f"question {turn}"] * 2:
            assert ask(watched.gateway, text, model=MODEL).status_code == 200
        assert ask(watched.gateway, "nobody serves it", model="no-such-model").status_code == 404
        _wait_for_scrapes(watched)


def _wait_for_scrapes(watched: Watched) -> None:
    """Until two more have succeeded."""
    succeeded = "sum_over_time(up[1h])"
    before = _value(watched.prometheus, succeeded)
    wait_for(lambda: _value(watched.prometheus, succeeded) >= before + 2, "two scrapes", LONG_S)


def _value(server: MetricsServer, expression: str) -> float:
    """The one value that it has now; NaN when there is none."""
    found = server.query(expression)
    assert len(found) < 2
    return found[0][1] if found else nan


# --- rules


def test_every_rule_is_evaluated(watched: Watched) -> None:
    """Prometheus evaluates each recording rule and each alert without an error, on what Penstock really shows."""
    wait_for(watched.prometheus.is_evaluated, "every rule", LONG_S)
    rules = watched.prometheus.rules()
    assert [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"] == []
    assert len(rules) > 100


@pytest.mark.parametrize(
    "name",
    [
        "penstock:requests:rate5m",
        "penstock:requests_by_cache:rate5m",
        "penstock:error_ratio:rate5m",
        "penstock:latency_seconds:p95_5m",
        "penstock:latency_threshold:seconds",
        "penstock:overhead_seconds:p95_5m",
        "penstock:tokens:rate5m",
        "penstock:cost:per_hour",
        "penstock:saved:per_hour",
        "penstock:saved_ratio:per_hour",
        "penstock:cost_per_request:per_hour",
        "penstock:cache_hit_ratio:rate5m",
        "penstock:prefix_hit_ratio:rate5m",
        "penstock:budget_used:ratio",
        "penstock:attempts:rate5m",
        "penstock:attempt_failure_ratio:rate5m",
        "penstock:deployment_used:ratio",
        "penstock:capacity_used:ratio",
        "penstock:slo_error_ratio:1h",
        "deepseek_api_calls_total",
        "deepseek_api_latency_seconds_bucket",
        "deepseek_token_usage_total",
        "deepseek_active_requests",
    ],
)
def test_what_is_recorded_has_values(watched: Watched, name: str) -> None:
    """The figures that dashboards are made of are there soon after the first requests."""
    wait_for(lambda: watched.prometheus.query(f"{name} >= 0"), name, LONG_S)


def test_a_model_that_nobody_serves_is_no_error(watched: Watched) -> None:
    """Of two models asked for, one does not exist: no share of what counts failed."""
    missed = "sum(penstock:requests_by_outcome:rate5m{outcome='model_not_found'}) > 0"
    wait_for(
        lambda: watched.prometheus.query(f"penstock:error_ratio_all:rate5m == 0 and on () {missed}"), missed, LONG_S
    )


def test_nothing_fires_where_all_is_well(watched: Watched) -> None:
    """A few requests, hits and mistakes of clients: no alert is even pending but by the machine's fault."""
    wait_for(watched.prometheus.is_evaluated, "every rule", LONG_S)
    assert {alert["labels"]["alertname"] for alert in watched.prometheus.alerts()} - OF_THE_CLOCK == set()


# --- what was scraped


def test_prometheus_has_what_penstock_shows(watched: Watched) -> None:
    """No series of ``/metrics`` is lost on the way."""
    shown = {name for name, _ in samples(watched.gateway.metrics())}
    ours = {name for name in shown if name.startswith("penstock_")}
    wait_for(lambda: ours <= watched.prometheus.names(), "every series", LONG_S)


def test_an_exemplar_leads_to_a_request(watched: Watched) -> None:
    """From a counter to the id of a request that it counted, and from there to the ledger."""
    now = time.time()
    found = watched.prometheus.api(
        "query_exemplars", query="penstock_requests_total{outcome='ok'}", start=f"{now - 600}", end=f"{now}"
    )
    ids = [exemplar["labels"]["request_id"] for series in found for exemplar in series["exemplars"]]
    assert ids
    assert watched.gateway.exchange(ids[0])["exchange"][0]["outcome"] == "ok"


# --- history that survives


@pytest.mark.parametrize("name", ["mimir", "thanos", "victoriametrics"])
def test_history_is_written_elsewhere(watched: Watched, name: str) -> None:
    """As the example says: what is recorded, with the installation's name; buckets are left behind.

    VictoriaMetrics is itself; what is written to the others goes to a second Prometheus, which speaks their protocol.
    """
    receiver = watched.receivers[name]
    wanted = {"up", "penstock_requests_total", "penstock:requests:rate5m", "penstock:latency_seconds:p95_5m"}
    wait_for(lambda: wanted <= receiver.names(), f"{name}: what is written", LONG_S)
    query = f"penstock_requests_total{{model='{MODEL}', outcome='ok', cache='exact'}}"
    wait_for(lambda: _value(receiver, query) == 2, f"{name}: the count", LONG_S)
    wait_for(lambda: receiver.query("up{penstock='main', job='penstock'}"), f"{name}: whose it is", LONG_S)
    assert [each for each in receiver.names() if each.endswith("_bucket")] == []
