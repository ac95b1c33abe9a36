"""deploy/grafana: the dashboards are what the code makes, and what they ask is asked rightly."""

import re
from collections import Counter
from math import prod
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from deploy.grafana.source import limit
from deploy.grafana.source.__main__ import PLACE, boards, write
from deploy.grafana.source.limit import Limit
from deploy.grafana.source.unit import MONEY, RATIO
from tests.support.panels import DASHBOARDS, DEPLOY, dashboards, panels, questions, rules, series_labels

QUESTIONS: Final = tuple(questions())
RULES: Final = tuple(rules())
LABELS: Final = series_labels()
PROVISIONING: Final = DEPLOY / "grafana" / "provisioning"

PROMETHEUS_OWN: Final = {"ALERTS", "up", "scrape_duration_seconds", "scrape_samples_post_metric_relabeling"}
PROCESS: Final = {
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
}
"""Of the official client: docs/reference/metrics.md."""

_SELECTOR: Final = re.compile(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}")
_NAMED: Final = re.compile(r"\b(?:penstock[_:]|process_|scrape_|deepseek_)[\w:]+|\bALERTS\b|\bup\b")


# --- the files


def test_the_files_are_what_the_code_makes(tmp_path: Path) -> None:
    """`make dashboards` would change nothing, and there is no file besides."""
    write(tmp_path)
    made = {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_text("utf-8") for path in DASHBOARDS}
    assert {path.name for path in PLACE.iterdir()} == made.keys()


def test_making_them_again_gives_the_same() -> None:
    """Nothing in them depends on the time or on chance."""
    assert [board.json() for board in boards()] == [board.json() for board in boards()]


def test_they_are_the_six() -> None:
    """Each has an address and a title of its own, and the file's name is the address."""
    found = dashboards()
    assert [path.stem for path in DASHBOARDS] == [each["uid"] for each in found]
    assert {each["title"] for each in found} == {
        "Penstock: Overview",
        "Penstock: Traffic and latency",
        "Penstock: Fleet",
        "Penstock: Caches",
        "Penstock: Budgets and keys",
        "Penstock: Gateway internals",
    }
    assert all(len(each["uid"]) <= 40 for each in found)


def test_money_comes_first() -> None:
    """The first thing on the first page is what a request costs."""
    (first, *_) = boards()
    (overview,) = [each for each in dashboards() if each["uid"] == first.uid]
    assert overview["panels"][0]["title"] == "Money"
    assert panels(overview)[0]["title"].startswith("Cost per request")


@pytest.mark.parametrize("dashboard", dashboards(), ids=lambda each: each["uid"])
def test_it_leads_to_the_others(dashboard: dict[str, Any]) -> None:
    """A link to all that have the tag, with the same time and choices; all of them have it."""
    (link,) = dashboard["links"]
    assert link["type"] == "dashboards"
    assert link["tags"] == dashboard["tags"] == ["penstock"]
    assert link["includeVars"]
    assert link["keepTime"]


@pytest.mark.parametrize("dashboard", dashboards(), ids=lambda each: each["uid"])
def test_it_marks_where_alerts_fire(dashboard: dict[str, Any]) -> None:
    """With their names, so that a bend in a line has its reason beside it."""
    (mark,) = dashboard["annotations"]["list"]
    assert "ALERTS{" in mark["expr"]
    assert set(re.findall(r"{{(\w+)}}", mark["titleFormat"] + mark["textFormat"])) == {"alertname", "severity"}
    assert "by (alertname, severity)" in mark["expr"]


@pytest.mark.parametrize("dashboard", dashboards(), ids=lambda each: each["uid"])
def test_it_offers_what_its_queries_use(dashboard: dict[str, Any]) -> None:
    """Every choice above the panels is used by one of them, and every one that they use is offered."""
    offered = {each["name"] for each in dashboard["templating"]["list"]}
    text = " ".join(target["expr"] for panel in panels(dashboard) for target in panel["targets"])
    used = set(re.findall(r"\$(\w+)", text)) - {"__rate_interval", "__range"}
    assert offered == used | {"datasource"}
    series = [each["query"]["query"] for each in dashboard["templating"]["list"] if each["type"] == "query"]
    for query in series:
        match = re.fullmatch(r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", query)
        assert match is not None
        assert match[2] in LABELS[match[1]]


# --- each panel


@pytest.mark.parametrize("dashboard", dashboards(), ids=lambda each: each["uid"])
def test_every_panel_says_what_it_shows(dashboard: dict[str, Any]) -> None:
    """A title of its own, a number of its own, a sentence about it, a unit, and names for its series."""
    found = panels(dashboard)
    numbers = [each["id"] for each in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers)
    assert [title for title, count in Counter(each["title"] for each in found).items() if count > 1] == []
    for panel in found:
        assert panel["description"].endswith((".", "?")), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["targets"], panel["title"]
        assert all(each["legendFormat"] for each in panel["targets"]), panel["title"]
        sources = [panel["datasource"], *(each["datasource"] for each in panel["targets"])]
        assert all(each == {"type": "prometheus", "uid": "${datasource}"} for each in sources)


@pytest.mark.parametrize("dashboard", dashboards(), ids=lambda each: each["uid"])
def test_panels_fill_their_rows(dashboard: dict[str, Any]) -> None:
    """24 columns each, and no panel lies on another."""
    taken = Counter(
        (each["gridPos"]["x"] + x, each["gridPos"]["y"] + y)
        for each in dashboard["panels"]
        for x in range(each["gridPos"]["w"])
        for y in range(each["gridPos"]["h"])
    )
    assert set(taken.values()) == {1}
    assert {x for x, _ in taken} == set(range(24))
    assert set(Counter(y for _, y in taken).values()) == {24}


def test_money_names_its_currency() -> None:
    """Where it is money, the legend has the currency, which gives it its sign, and the unit fits every other."""
    for dashboard in dashboards():
        for panel in panels(dashboard):
            is_money = panel["fieldConfig"]["defaults"]["unit"] == MONEY
            legends = [target["legendFormat"] for target in panel["targets"]]
            assert [is_money] * len(legends) == ["{{currency}}" in legend for legend in legends], panel["title"]
            units = {each["properties"][0]["value"] for each in panel["fieldConfig"]["overrides"]}
            assert {"currency:¥", "currencyUSD"} <= units if is_money else units == set()


def test_latencies_have_exemplars() -> None:
    """A quantile leads nowhere by itself: one query of each panel of quantiles brings single requests."""
    by_panel: dict[tuple[str, str], list[bool]] = {}
    for each in QUESTIONS:
        if "histogram_quantile" in each.raw:
            by_panel.setdefault((each.dashboard, each.panel), []).append(each.exemplars)
        else:
            assert not each.exemplars, each
    graphs = {key: asked for key, asked in by_panel.items() if not key[1].startswith("P95") or any(asked)}
    assert len(graphs) >= 7
    assert {sum(asked) for asked in graphs.values()} == {1}


# --- each query


def test_they_ask_for_what_there_is() -> None:
    """Each name is declared, recorded, or used by a rule: test_prometheus.py beside this holds those to the same."""
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    ruled = {name for rule in RULES for name in _NAMED.findall(rule["expr"])}
    used = {name for each in QUESTIONS for name in _NAMED.findall(each.raw)}
    assert used - LABELS.keys() - recorded - ruled - PROMETHEUS_OWN - PROCESS == set()


def test_process_figures_are_documented() -> None:
    """What the client adds of itself."""
    text = (DEPLOY.parent / "docs" / "reference" / "metrics.md").read_text("utf-8")
    assert [name for name in PROCESS if name not in text] == []


def test_every_series_is_of_the_chosen_installation() -> None:
    """No figure has others in it than those that were chosen, and filters are by labels that there are."""
    for each in QUESTIONS:
        selectors = _SELECTOR.findall(each.raw)
        bare = Counter(_NAMED.findall(each.raw)) - Counter(name for name, _ in selectors)
        assert not bare, each
        for name, matchers in selectors:
            assert name == "ALERTS" or matchers.startswith('job=~"$job"'), each
            labels = set(re.findall(r"(\w+)(?:=~|!~|!=|=)\"", matchers))
            assert labels <= LABELS.get(name, labels), each


def test_sums_are_by_labels_that_there_are() -> None:
    """By another label there would be one sum of all, without a name; legends name what it is summed by."""
    for each in QUESTIONS:
        known = set().union(*(LABELS.get(name, set()) for name in each.names))
        grouped = {label for labels in re.findall(r"\bby \(([^)]*)\)", each.raw) for label in labels.split(", ")}
        if each.names <= LABELS.keys():
            assert grouped <= known, each
        if grouped:
            assert set(re.findall(r"{{(\w+)}}", each.legend)) <= grouped, each


def test_counters_are_rates() -> None:
    """A counter is asked by rate or increase, over what Grafana finds fitting, or the time shown."""
    counters = {name for name in LABELS if name.endswith(("_total", "_bucket", "_sum", "_count"))} | {
        "process_cpu_seconds_total"
    }
    for each in QUESTIONS:
        for name in each.names & counters:
            asked = re.findall(rf"(?:rate|increase)\({name}\{{[^}}]*\}}\[\$__(?:rate_interval|range)\]\)", each.raw)
            assert len(asked) == each.raw.count(f"{name}{{"), each
        assert len(re.findall(r"\[", each.raw)) == len(re.findall(r"\[\$__(?:rate_interval|range)\]", each.raw)), each


def test_what_is_asked_over_the_time_shown_is_asked_once() -> None:
    """At each moment of that time it would be another sum, of as much time before it."""
    for dashboard in dashboards():
        for panel in panels(dashboard):
            for target in panel["targets"]:
                assert target["instant"] == ("$__range]" in target["expr"]) != target["range"], panel["title"]
                assert not target["instant"] or panel["type"] in {"stat", "bargauge"}, panel["title"]


def test_quantiles_are_of_rates_summed_by_bound() -> None:
    """A quantile of buckets since the start, or without their bounds, is none."""
    rate = r"rate\(\w+_bucket\{[^}]*\}\[\$__rate_interval\]\)"
    good = re.compile(rf"histogram_quantile\(0\.\d+, sum by \((?:\w+, )?le\) \({rate}\)\) >= 0")
    quantiles = [each.raw for each in QUESTIONS if "histogram_quantile" in each.raw]
    assert len(quantiles) > 10
    assert [each for each in quantiles if not good.fullmatch(each)] == []


def test_ratios_have_no_value_where_nothing_happened() -> None:
    """What is divided by is a number, or above 0: no NaN, no infinity."""
    guarded = re.compile(r"/ (?:\d|(?:on \(\) group_left \(\) )?\(.* > 0\)$)")
    divided = [each.raw for each in QUESTIONS if " / " in each.raw]
    assert len(divided) > 5
    assert [each for each in divided if not guarded.search(each)] == []


def test_ratios_are_percentages() -> None:
    """A recorded ratio is shown as one."""
    burns = {"Burn of availability", "Burn of the first byte"}
    for dashboard in dashboards():
        for panel in panels(dashboard):
            exprs = " ".join(target["expr"] for target in panel["targets"])
            if re.search(r"_ratio\b|:ratio\b|_ratio:", exprs) and panel["title"] not in burns:
                assert panel["fieldConfig"]["defaults"]["unit"] == RATIO, panel["title"]


# --- thresholds


def _limits() -> list[Limit]:
    return sorted({each for limits in vars(limit).values() if isinstance(limits, tuple) for each in limits})


def _numbers(alert: str) -> set[float]:
    """Those in an alert's expression, products worked out, and what thresholds.yaml has for it."""
    (rule,) = [each for each in RULES if each.get("alert") == alert]
    expr = rule["expr"]
    for threshold in re.findall(r"penstock:(\w+)_threshold:seconds", expr):
        (default,) = [each for each in RULES if each.get("record") == f"penstock:threshold:{threshold}_default_seconds"]
        expr += " " + default["expr"]
    products = re.findall(r"(?<![\w.\[:])\d[\d.]*(?: \* \d[\d.]*)*(?![\w:])", expr)
    factors = [[float(number) for number in each.split(" * ")] for each in products]
    return {prod(each) for each in factors} | {number for each in factors for number in each}


@pytest.mark.parametrize("each", _limits(), ids=str)
def test_panels_turn_where_alerts_do(each: Limit) -> None:
    """A panel is yellow where its alert warns, red where it wakes somebody, and nowhere else."""
    (rule,) = [found for found in RULES if found.get("alert") == each.alert]
    assert each.above in _numbers(each.alert)
    assert each.color == {"critical": "red", "warning": "yellow", "info": "yellow"}[rule["labels"]["severity"]]


# --- provisioning


def test_the_data_source_is_scraped_as_often_as_it_says() -> None:
    """Grafana makes its intervals of it: too short, and rates have nothing to go by."""
    (source,) = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yaml").read_text("utf-8"))["datasources"]
    prometheus = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text("utf-8"))
    assert source["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)


def test_dashboards_are_provided_as_they_are() -> None:
    """From one directory, and never from what somebody changed in the browser."""
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "penstock.yaml").read_text("utf-8"))["providers"]
    assert provider["type"] == "file"
    assert not provider["allowUiUpdates"]
    assert provider["options"] == {"path": "$PENSTOCK_DASHBOARDS"}
