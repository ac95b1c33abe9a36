"""Every metric is declared, documented and filled from the ledger's rows."""

import asyncio
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from penstock.config.load import load
from penstock.core.usage import Usage
from penstock.observe.counts import OTHER, Histogram
from penstock.observe.exposition import LINES_AT_ONCE, Format
from penstock.observe.metrics import DECLARED, Metrics
from tests.support.kinds import KINDS
from tests.support.ledger_rows import AT, attempt_row, exchange_row, share_row
from tests.support.metrics_text import exemplars

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "metrics.md"


@pytest.fixture
def metrics() -> Metrics:
    """Of the built-in settings: the models sim-chat and sim-embed."""
    return Metrics(load(None, {}, registry=KINDS))


def samples(metrics: Metrics) -> dict[tuple[str, tuple[str, ...]], float]:
    """What a scrape shows, by name and label values in alphabetical order of the labels."""
    text = metrics.render().decode()
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_metric_is_documented_with_its_labels() -> None:
    """A metric that is not in the reference fails here; so does a documented one that does not exist."""
    rows = [line.split("|") for line in REFERENCE.read_text().splitlines() if line.startswith("| `penstock_")]
    documented = {(row[1].strip(" `"), row[2].strip(), tuple(row[3].replace("`", " ").split())) for row in rows}
    assert documented == {(declared.name, declared.kind, declared.labels) for declared in DECLARED}


def test_a_miss_is_counted_once_in_every_metric(metrics: Metrics) -> None:
    """Request, time, tokens, cost, call and lookup."""
    usage = Usage(100, 20, 3, 30, 10)
    row = exchange_row(
        "ex", model="sim-chat", cache="miss", cost_nano=7_000_000, baseline_nano=7_000_000, streamed=True,
        first_byte_s=0.2, overhead_s=0.001,
    )  # fmt: skip
    metrics.observe(row, [attempt_row("at", "ex", deployment="sim/sim-chat", usage=usage)], [share_row("at", "ex", 7)])
    seen = samples(metrics)
    assert seen["penstock_requests_total", ("miss", "sim-chat", "ok")] == 1
    assert seen["penstock_request_duration_seconds_sum", ("miss", "sim-chat")] == 0.5
    assert seen["penstock_request_duration_seconds_bucket", ("miss", "0.25", "sim-chat")] == 0
    assert seen["penstock_request_duration_seconds_bucket", ("miss", "0.5", "sim-chat")] == 1
    assert seen["penstock_time_to_first_token_seconds_count", ("sim-chat",)] == 1
    assert seen["penstock_tokens_total", ("input_miss", "sim-chat")] == 100
    assert seen["penstock_tokens_total", ("input_hit", "sim-chat")] == 20
    assert seen["penstock_tokens_total", ("cache_write", "sim-chat")] == 3
    assert seen["penstock_tokens_total", ("output", "sim-chat")] == 30
    assert seen["penstock_reasoning_tokens_total", ("sim-chat",)] == 10
    assert seen["penstock_cost_total", ("CNY", "sim-chat")] == pytest.approx(0.007)
    assert seen["penstock_attempts_total", ("sim/sim-chat", "ok")] == 1
    assert seen["penstock_cache_lookups_total", ("exact", "miss")] == 1
    assert seen["penstock_cache_lookups_total", ("join", "miss")] == 1
    assert seen["penstock_overhead_seconds_count", ()] == 1
    assert not [name for name, _ in seen if name.startswith("penstock_saved")]


@pytest.mark.parametrize(("cache", "lookup"), [("exact", ("exact", "hit")), ("joined", ("join", "hit"))])
def test_a_saving_goes_to_its_lever(metrics: Metrics, cache: str, lookup: tuple[str, str]) -> None:
    """And costs no tokens."""
    row = exchange_row("ex", model="sim-chat", cache=cache, cost_nano=0, baseline_nano=2_000_000, usage=Usage(9))
    metrics.observe(row, [], [share_row("at", "ex", 0, lever=cache)])
    seen = samples(metrics)
    assert seen["penstock_saved_total", ("CNY", cache)] == pytest.approx(0.002)
    assert seen["penstock_cache_lookups_total", lookup] == 1
    assert not [name for name, _ in seen if name.startswith("penstock_tokens")]


def test_what_retries_wasted_is_no_negative_saving(metrics: Metrics) -> None:
    """A counter never falls."""
    row = exchange_row("ex", model="sim-chat", cache="miss", cost_nano=9, baseline_nano=7)
    metrics.observe(row, [], [share_row("a", "ex", 2), share_row("b", "ex", 7)])
    metrics.observe(row, [], [share_row("a", "ex", 9, lever="exact")])
    assert not [name for name, _ in samples(metrics) if name.startswith("penstock_saved")]


def test_what_outgrew_its_hold_is_counted(metrics: Metrics) -> None:
    """By deployment; a call within its hold is not."""
    outgrown = attempt_row("at", "ex", deployment="sim/sim-chat", overrun=True)
    within = attempt_row("au", "ex", deployment="sim/sim-chat")
    metrics.observe(exchange_row("ex", model="sim-chat"), [outgrown, within], [])
    assert samples(metrics)["penstock_overruns_total", ("sim/sim-chat",)] == 1


def test_unpriced_requests_cost_nothing_known(metrics: Metrics) -> None:
    """Unpriced is not free: it is in no amount at all."""
    metrics.observe(exchange_row("ex", model="sim-chat", cost_nano=None, baseline_nano=None), [], [])
    assert not [name for name, _ in samples(metrics) if name.startswith("penstock_cost")]


@given(st.text(max_size=20))
def test_no_client_chooses_a_label(name: str) -> None:
    """Whatever model a client asks for, it is a configured one or ``other``."""
    settings = load(None, {}, registry=KINDS)
    assume(name not in settings.models)  # Hypothesis knows the words of our own source
    metrics = Metrics(settings)
    metrics.observe(exchange_row("ex", model=name), [attempt_row("at", "ex", deployment=name)], [])
    assert samples(metrics)["penstock_requests_total", ("off", OTHER, "ok")] == 1
    assert samples(metrics)["penstock_attempts_total", (OTHER, "ok")] == 1


async def test_a_refusal_to_protect_the_rest_is_counted_as_shed(metrics: Metrics) -> None:
    """With and without an exchange; what a line sent away is told by the line alone, so that nothing counts twice."""
    metrics.observe(exchange_row("ex", model="sim-chat", outcome="rate_limited"), [], [])
    metrics.observe(exchange_row("ex", model="sim-chat", outcome="saturated"), [], [])
    metrics.shed("body_too_slow")
    metrics.watch_all("penstock_shed_total", lambda: {("queue_full",): 3})
    await metrics.scrape()
    shown = {labels[0]: value for (name, labels), value in samples(metrics).items() if name == "penstock_shed_total"}
    assert shown == metrics.sheds() == {"rate_limited": 1, "body_too_slow": 1, "queue_full": 3}


def test_the_last_seconds_are_told_from_the_same_counts(metrics: Metrics) -> None:
    """Requests, errors, hits, tokens, money and calls since the note; what came before it is not in them."""
    row = exchange_row("ex", model="sim-chat", cache="miss", cost_nano=7, baseline_nano=9)
    attempt = attempt_row("at", "ex", deployment="sim/sim-chat", usage=Usage(100, 20, 3, 30, 10))
    metrics.observe(row, [attempt], [share_row("at", "ex", 7)])
    metrics.note(100.0)
    metrics.note(100.5)
    metrics.observe(row, [attempt], [share_row("at", "ex", 7, lever="routing")])
    metrics.observe(exchange_row("ex", cache="exact", cost_nano=0, baseline_nano=0), [], [])
    busy = attempt_row("at", "ex", deployment="sim/sim-chat", outcome="provider_busy")
    refused = attempt_row("at", "ex", deployment="sim/sim-chat", outcome="provider_refused")
    metrics.observe(exchange_row("ex", outcome="provider_refused", cost_nano=None), [busy, refused], [])
    metrics.shed("draining")
    seconds, done = metrics.recent(102.0)
    assert seconds == 2.0
    assert (done.requests, done.errors, done.lookups, done.hits, done.shed) == (3, 1, 2, 1, 1)
    assert (done.tokens, done.cost_nano, done.saved_nano) == (153 + busy.usage.total + refused.usage.total, 7, 2)
    assert (done.calls, done.failures) == ({"sim/sim-chat": 3}, {"sim/sim-chat": 1})


def test_what_may_never_happen_is_told_from_the_start(metrics: Metrics) -> None:
    """An alert on an increase would not see a counter that begins at 1."""
    assert samples(metrics)["penstock_ledger_rows_lost_total", ()] == 0
    metrics.rows_lost(3)
    assert samples(metrics)["penstock_ledger_rows_lost_total", ()] == 3


async def test_gauges_are_read_at_the_scrape(metrics: Metrics) -> None:
    """And not before."""
    depth = 3
    metrics.watch("penstock_queue_depth", (), lambda: depth)
    metrics.active += 2
    depth = 4
    await metrics.scrape()
    assert samples(metrics)["penstock_queue_depth", ()] == 4
    assert samples(metrics)["penstock_active_requests", ()] == 2


async def test_the_loop_turns_while_the_text_is_made(metrics: Metrics) -> None:
    """Never is more than a piece made between two of its turns: a thread at work holds it up as it does itself."""
    turns, made_in = 0, list[int]()

    class Watched(str):
        """A label that notes when its text was made."""

        __slots__ = ()

        def translate(self, table: Any, /) -> str:
            made_in.append(turns)
            return super().translate(table)

    def turn() -> None:
        nonlocal turns
        turns += 1
        loop.call_soon(turn)

    loop = asyncio.get_running_loop()
    loop.call_soon(turn)
    metrics.watch_all("penstock_model_up", lambda: {(Watched(number),): 1.0 for number in range(10 * LINES_AT_ONCE)})
    await metrics.scrape()
    assert len(made_in) == 10 * LINES_AT_ONCE
    assert max(map(made_in.count, set(made_in))) <= LINES_AT_ONCE


async def test_a_gauge_may_have_labels_that_come_and_go(metrics: Metrics) -> None:
    """A budget that is gone is not shown any more, one that is new is."""
    ratios: dict[tuple[str, ...], float] = {("gone",): 0.5}
    metrics.watch_all("penstock_budget_used_ratio", lambda: ratios)
    await metrics.scrape()
    ratios = {("all",): 0.25}
    await metrics.scrape()
    shown = {name: value for name, value in samples(metrics).items() if name[0] == "penstock_budget_used_ratio"}
    assert shown == {("penstock_budget_used_ratio", ("all",)): 0.25}


def test_what_budgets_avoided_and_told_is_counted(metrics: Metrics) -> None:
    """Avoided is no saving; a refusal that nobody can price adds nothing."""
    for avoided in (1_500_000_000, None, 0):
        metrics.observe(exchange_row("ex", outcome="budget_exceeded", avoided_nano=avoided), [], [])
    metrics.budget_alert("all")
    seen = samples(metrics)
    assert seen["penstock_avoided_total", ("CNY",)] == 1.5
    assert seen["penstock_budget_alerts_total", ("all",)] == 1
    assert not any(name == "penstock_saved_total" for name, _ in seen)


def test_a_series_names_the_request_that_it_counted_last(metrics: Metrics) -> None:
    """With its trace where it has one, in the bucket of its time, and when it ended; in OpenMetrics alone."""
    row = exchange_row("req_1", model="sim-chat", outcome="provider_busy", overhead_s=0.003)
    metrics.observe(row, [], [], "4bf92f3577b34da6a3ce929d0e0e4736")
    metrics.observe(exchange_row("req_2", model="sim-chat", streamed=True, first_byte_s=0.2), [], [])
    told = {
        (name, *(value for label, value in labels if label in {"le", "outcome"})): exemplar
        for (name, labels), exemplar in exemplars(metrics.render(Format.OPENMETRICS).decode()).items()
    }
    failed = told["penstock_requests_total", "provider_busy"]
    assert failed.labels == {"request_id": "req_1", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"}
    slow = told["penstock_request_duration_seconds_bucket", "0.5"]
    assert (slow.labels, slow.value, float(slow.timestamp or 0)) == ({"request_id": "req_2"}, 0.5, AT + 0.5)
    assert told["penstock_overhead_seconds_bucket", "0.004"].labels["request_id"] == "req_1"
    assert told["penstock_time_to_first_token_seconds_bucket", "0.25"].labels == {"request_id": "req_2"}
    assert " # {" not in metrics.render().decode()


async def test_a_scrape_tells_what_a_rendering_does(metrics: Metrics) -> None:
    """Its pieces are whole lines, in order, and none is lost."""
    metrics.observe(exchange_row("req_1", model="sim-chat"), [], [])
    scraped = (await metrics.scrape(Format.OPENMETRICS)).decode()
    ours = [text.partition("# HELP process_")[0] for text in (scraped, metrics.render(Format.OPENMETRICS).decode())]
    assert ours[0] == ours[1]
    assert scraped.endswith("# EOF\n")


def test_the_process_shows_itself(metrics: Metrics) -> None:
    """Memory and CPU beside our own."""
    assert samples(metrics)["process_resident_memory_bytes", ()] > 1e6


@given(st.lists(st.floats(0, 1e4)))
def test_a_histogram_counts_every_value_once(values: list[float]) -> None:
    """In the first bucket whose bound it does not exceed."""
    histogram = Histogram((0.1, 1.0, 10.0))
    for value in values:
        histogram.observe(value)
    buckets = histogram.buckets()
    expected = [sum(value <= bound for value in values) for bound in (0.1, 1.0, 10.0, float("inf"))]
    assert [*accumulate(buckets.counts)] == expected
    assert buckets.total == pytest.approx(sum(values))
