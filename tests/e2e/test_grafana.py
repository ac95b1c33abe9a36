"""What the dashboards ask, a real Prometheus understands, and answers."""

import re
from collections.abc import Iterator
from contextlib import suppress
from math import isfinite

import pytest

from tests.support.gateway_process import wait_for
from tests.support.invented_metrics import invented_metrics
from tests.support.panels import dashboards, prepared, questions
from tests.support.prometheus_server import PrometheusServer, Sample, prometheus_receiver, prometheus_server

pytestmark = pytest.mark.e2e

LONG_S = 90.0
RANGE = {"start": "0", "end": "60", "step": "15"}


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    """One that has no series: whatever it answers, it has read the question."""
    with prometheus_receiver(tmp_path_factory.mktemp("prometheus")) as server:
        yield server


def test_every_query_of_every_panel_is_understood(prometheus: PrometheusServer) -> None:
    """Over a range, as Grafana asks, and for the exemplars where a panel wants them."""
    asked = tuple(questions())
    for each in asked:
        assert prometheus.api("query_range", query=each.expr, **RANGE)["resultType"] == "matrix", each
        if each.exemplars:
            assert prometheus.api("query_exemplars", query=each.expr, start="0", end="60") == [], each
    assert len(asked) > 90


def test_marks_and_choices_are_understood(prometheus: PrometheusServer) -> None:
    """The alerts that are marked on each panel, and the series whose labels may be chosen."""
    for dashboard in dashboards():
        for mark in dashboard["annotations"]["list"]:
            prometheus.api("query_range", query=prepared(mark["expr"]), **RANGE)
        for choice in dashboard["templating"]["list"]:
            if choice["type"] == "query":
                series, _, label = choice["query"]["query"][len("label_values(") : -1].rpartition(", ")
                assert prometheus.api(f"label/{label}/values", **{"match[]": prepared(series)}) == []


def test_a_query_that_is_none_is_refused(prometheus: PrometheusServer) -> None:
    """The two above would fail."""
    with pytest.raises(AssertionError, match="parse error"):
        prometheus.api("query_range", query="sum by (le (rate(x[1m]))", **RANGE)


# --- and answers

Answers = dict[str, list[Sample]]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Answers]:
    """Of each query, by a Prometheus with the committed rules, that scrapes one of everything."""
    found: Answers = {}
    exprs = {each.expr for each in questions()}
    with (
        invented_metrics() as target,
        prometheus_server(tmp_path_factory.mktemp("answering"), [target]) as server,
    ):
        wait_for(lambda: server.query("penstock:saved_ratio:per_hour"), "what is recorded of what is recorded", LONG_S)

        def all_answered() -> bool:
            found.update({expr: server.query(expr) for expr in exprs if not found.get(expr)})
            return all(found.values())

        with suppress(AssertionError):  # who has none is told by the first test
            wait_for(all_answered, "an answer to each query", LONG_S)
        yield found


def test_every_query_of_every_panel_has_an_answer(answers: Answers) -> None:
    """Where everything happens each panel shows something: numbers, no NaN and no infinity."""
    assert [expr for expr, samples in answers.items() if not samples] == []
    assert [expr for expr, samples in answers.items() if not all(isfinite(value) for _, value in samples)] == []


def test_series_have_what_their_legends_name(answers: Answers) -> None:
    """No label that a legend names is missing, and no two lines of a panel look the same."""
    for each in questions():
        labels = re.findall(r"{{(\w+)}}", each.legend)
        names = [tuple(found[label] for label in labels) for found, _ in answers[each.expr]]
        assert len(set(names)) == len(names), each
