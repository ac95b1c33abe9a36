"""What the dashboards ask, a real Prometheus understands."""

from collections.abc import Iterator

import pytest

from tests.support.panels import dashboards, prepared, questions
from tests.support.prometheus_server import PrometheusServer, prometheus_receiver

pytestmark = pytest.mark.e2e

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
