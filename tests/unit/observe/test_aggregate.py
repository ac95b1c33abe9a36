"""Several processes' metrics as those of one."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from penstock.observe.aggregate import ACROSS, Aggregate, read
from penstock.observe.exposition import Format
from penstock.observe.metrics import DECLARED, MOST_SERIES
from tests.support.metrics_text import Sample, exemplars, samples

COUNTER = (
    '# HELP penstock_shed_total Refused.\n# TYPE penstock_shed_total counter\npenstock_shed_total{{reason="{}"}} {}\n'
)
HISTOGRAM = """# HELP penstock_overhead_seconds Inside.
# TYPE penstock_overhead_seconds histogram
penstock_overhead_seconds_bucket{{le="0.5"}} {0}
penstock_overhead_seconds_bucket{{le="+Inf"}} {1}
penstock_overhead_seconds_count {1}
penstock_overhead_seconds_sum {2}
"""


def sample(text: str, name: str, **labels: str) -> float:
    """One value of it."""
    return samples(text)[name, tuple(sorted(labels.items()))]


def _gauge(name: str, value: float) -> str:
    return f"# HELP {name} What it is.\n# TYPE {name} gauge\n{name} {value}\n"


def _of(*texts: str) -> Aggregate:
    aggregate = Aggregate()
    for place, text in enumerate(texts):
        aggregate.take(str(place), read(text))
    return aggregate


def test_what_is_counted_is_summed() -> None:
    """Counters by their labels, histograms by their buckets."""
    aggregate = _of(
        COUNTER.format("a", 2) + HISTOGRAM.format(1, 2, 0.5), COUNTER.format("a", 3) + HISTOGRAM.format(4, 4, 1)
    )
    aggregate.take("2", read(COUNTER.format("b", 7)))
    text = aggregate.render("012").decode()
    assert sample(text, "penstock_shed_total", reason="a") == 5
    assert sample(text, "penstock_shed_total", reason="b") == 7
    assert sample(text, "penstock_overhead_seconds_bucket", le="0.5") == 5
    assert sample(text, "penstock_overhead_seconds_count") == 6
    assert sample(text, "penstock_overhead_seconds_sum") == 1.5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("penstock_active_requests", 5),
        ("penstock_requests_per_second", 5),
        ("penstock_budget_used_ratio", 3),
        ("penstock_ledger_healthy", 2),
        ("penstock_tokens_today", 3),
        ("penstock_cost_today", 3),
        ("penstock_account_balance", 2),
        ("process_start_time_seconds", 2),
        ("process_resident_memory_bytes", 5),
    ],
)
def test_a_gauge_is_what_is_declared_of_it(name: str, value: float) -> None:
    """A sum, the most, or the least."""
    assert sample(_of(_gauge(name, 2), _gauge(name, 3)).render("01").decode(), name) == value


def test_no_sum_falls_when_a_process_ends() -> None:
    """What it has counted stays, though its successor begins at 0; its gauges go with it."""
    aggregate = _of(COUNTER.format("a", 5) + _gauge("penstock_active_requests", 4), COUNTER.format("a", 1))
    aggregate.end("0")
    aggregate.take("2", read(COUNTER.format("a", 0) + _gauge("penstock_active_requests", 1)))
    text = aggregate.render("12").decode()
    assert sample(text, "penstock_shed_total", reason="a") == 6
    assert sample(text, "penstock_active_requests") == 1


def test_who_does_not_answer_has_counted_all_the_same() -> None:
    """Of a process that could not be read now its counters are told as last read, its gauges not at all."""
    aggregate = _of(COUNTER.format("a", 5) + _gauge("penstock_queue_depth", 9), _gauge("penstock_queue_depth", 1))
    text = aggregate.render("1").decode()
    assert sample(text, "penstock_shed_total", reason="a") == 5
    assert sample(text, "penstock_queue_depth") == 1


def test_what_is_rendered_can_be_read() -> None:
    """The exposition keeps names, types and texts, so that it can be summed again."""
    text = COUNTER.format("a", 5) + HISTOGRAM.format(1, 2, 0.5) + _gauge("penstock_queue_depth", 9)
    again = _of(text).render("0").decode()
    assert [*text_string_to_metric_families(again)] == [*text_string_to_metric_families(text)]


def test_every_gauge_has_a_rule_that_is_known() -> None:
    """A misspelt rule would fail at the scrape."""
    assert {declared.name for declared in DECLARED if declared.kind == "gauge"} <= ACROSS.keys()
    assert set(ACROSS.values()) <= {"sum", "max", "min"}


def test_what_is_configured_is_not_summed_beside_what_is_learned() -> None:
    """Each worker has read the same figure of the config, and has learned what it can take itself."""
    name = "penstock_capacity_requests_per_second"
    told = f'# TYPE {name} gauge\n{name}{{source="configured"}} 200.0\n{name}{{source="learned"}} 70.5\n'
    text = _of(told, told).render("01").decode()
    assert sample(text, name, source="configured") == 200
    assert sample(text, name, source="learned") == 141


@pytest.mark.parametrize("order", ["01", "10"])
def test_the_latest_exemplar_is_told(order: str) -> None:
    """Whichever process was read first; in OpenMetrics, where exemplars are."""
    told = """# HELP penstock_shed Refused.
# TYPE penstock_shed counter
penstock_shed_total{{reason="a # {{b}} 3"}} {0} # {{request_id="req_{0}"}} 1.0 {1}
# EOF
"""
    texts = {"0": told.format(2, "1795000000.500"), "1": told.format(3, "1795000001.000")}
    aggregate = Aggregate()
    for process in order:
        aggregate.take(process, read(texts[process]))
    assert sample(aggregate.render("01").decode(), "penstock_shed_total", reason="a # {b} 3") == 5
    (exemplar,) = exemplars(aggregate.render("01", Format.OPENMETRICS).decode()).values()
    assert exemplar.labels == {"request_id": "req_3"}


def test_workers_together_have_no_more_series_than_one() -> None:
    """Though each has seen other outcomes: what is new beyond the bound is ``other``, and nothing is lost or falls."""
    name = "penstock_attempts_total"
    most = MOST_SERIES[name]

    def told(outcome: str, count: int) -> str:
        lines = (
            f'{name}{{deployment="d{place}",outcome="{each}"}} {count}\n'
            for place in range(most)
            for each in ("ok", outcome)
        )
        return f"# TYPE {name} counter\n" + "".join(lines)

    aggregate, totals = Aggregate(), list[dict[Sample, float]]()
    for process, outcome in (("0", "late"), ("1", "busy"), ("0", "late")):
        aggregate.take(process, read(told(outcome, 1 + len(totals))))
        totals.append(samples(aggregate.render("01").decode()))
    assert len(totals[-1]) <= 3 * most
    assert [sum(each.values()) for each in totals] == [2 * most, (2 + 4) * most, (6 + 4) * most]
    assert all(totals[-1][series] >= value for series, value in totals[0].items())
    assert sample(aggregate.render("01").decode(), name, deployment="d0", outcome="ok") == 3 + 2
    assert sample(aggregate.render("01").decode(), name, deployment="d0", outcome="other") == 2
