"""deploy/prometheus: promtool takes it, and every alert is tested, explained, and made of what there is."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from penstock import errors
from penstock.errors import Origin, PenstockError, ProviderRefused
from penstock.observe.metrics import DECLARED

ROOT = Path(__file__).parents[3]
PLACE = ROOT / "deploy" / "prometheus"
RULE_FILES = sorted((PLACE / "rules").glob("*.yaml"))
REMOTE_WRITE = sorted((PLACE / "remote-write").glob("*.yaml"))
PROMTOOL_TESTS = sorted((ROOT / "tests" / "prometheus").glob("*.yaml"))
PAGES = ROOT / "docs" / "how-to" / "alerts"
PROMTOOL = shutil.which("promtool")

SEVERITIES: Final = {"critical", "warning", "info"}
PROMTOOL_PATIENCE_S: Final = 300

needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (apt install prometheus)")


def _promtool(*arguments: str) -> None:
    assert PROMTOOL is not None
    command = [PROMTOOL, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PROMTOOL_PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _rules() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every rule, with the name of its file."""
    for path in RULE_FILES:
        for group in yaml.safe_load(path.read_text("utf-8"))["groups"]:
            for rule in group["rules"]:
                yield path.name, rule


ALERTS: Final = {rule["alert"]: rule for _, rule in _rules() if "alert" in rule}


# --- the programs that read them


@needs_promtool
def test_the_rules_are_rules() -> None:
    """Promtool accepts every rule file, its expressions and its templates, and no rule is there twice."""
    _promtool("check", "rules", "--lint-fatal", *map(str, RULE_FILES))


@needs_promtool
def test_the_config_is_one() -> None:
    """Promtool accepts the config, and finds the rule files that it names."""
    _promtool("check", "config", "--lint-fatal", str(PLACE / "prometheus.yaml"))


@needs_promtool
@pytest.mark.parametrize("path", REMOTE_WRITE, ids=lambda path: path.stem)
def test_the_config_takes_each_place_to_write_to(path: Path, tmp_path: Path) -> None:
    """Each example of remote write, pasted into the config, leaves it valid."""
    shutil.copytree(PLACE / "rules", tmp_path / "rules")
    pasted = tmp_path / "prometheus.yaml"
    pasted.write_text((PLACE / "prometheus.yaml").read_text("utf-8") + path.read_text("utf-8"), "utf-8")
    _promtool("check", "config", str(pasted))


@needs_promtool
@pytest.mark.parametrize("path", PROMTOOL_TESTS, ids=lambda path: path.stem)
def test_promtool_agrees(path: Path) -> None:
    """The alerts fire, and are silent, and the recorded figures are, as tests/prometheus says."""
    _promtool("test", "rules", str(path))


# --- each alert


def test_every_alert_is_tried_firing_and_silent() -> None:
    """An alert that nobody saw fire is a wish, and one that nobody saw silent is noise."""
    tried = {
        (case["alertname"], bool(case.get("exp_alerts")))
        for path in PROMTOOL_TESTS
        for test in yaml.load(path.read_text("utf-8"), yaml.CSafeLoader)["tests"]
        for case in test.get("alert_rule_test", ())
    }
    assert tried == {(alert, fires) for alert in ALERTS for fires in (True, False)}


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_says_what_it_has_to(alert: str) -> None:
    """A severity of the three tiers, a time that it has to last, what it is, what it means, and its page."""
    rule = ALERTS[alert]
    page = rule["annotations"]["runbook"]
    assert alert.startswith("Penstock")
    assert rule["labels"]["severity"] in SEVERITIES
    assert re.fullmatch(r"[1-9]\d*[mh]", rule["for"])
    assert rule["annotations"].keys() == {"summary", "description", "runbook"}
    assert page == f"docs/how-to/alerts/{alert}.md"
    text = (ROOT / page).read_text("utf-8")
    assert re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE) == [alert, "Look at", "Do", "Silence it"]
    assert f"**{rule['labels']['severity']}**, after {rule['for']}." in text


def test_every_page_is_of_an_alert() -> None:
    """A page of an alert that is gone leads nowhere."""
    assert {path.stem for path in PAGES.glob("*.md")} == ALERTS.keys()


# --- what they are made of


def _shown() -> set[str]:
    """The series that a scrape has, by name."""
    plain = {declared.name for declared in DECLARED if declared.kind != "histogram"}
    parts = {f"{each.name}_{part}" for each in DECLARED if each.bounds for part in ("bucket", "sum", "count")}
    return plain | parts


def _recorded() -> set[str]:
    """Of the examples that are commented out as well: an operator's thresholds are."""
    texts = [path.read_text("utf-8") for path in RULE_FILES]
    return {name for text in texts for name in re.findall(r"record: \"?([\w:]+)", text)}


_METRIC: Final = re.compile(r"\bpenstock[\w:]+")


def test_rules_use_only_what_there_is() -> None:
    """Each metric that a rule or a page names is declared in observe/metrics.py, or recorded."""
    known = _shown() | _recorded()
    used = {name for _, rule in _rules() for name in _METRIC.findall(rule["expr"])}
    assert used - known == set()
    told = {
        name
        for path in (*PAGES.glob("*.md"), ROOT / "docs" / "how-to" / "monitoring.md")
        for name in re.findall(r"\bpenstock[_:][\w:]+", path.read_text("utf-8"))
    }
    assert told - known == set()


def _not_errors() -> list[str]:
    """The kinds that are the client's own doing. What a provider refuses is: it says so of the request."""
    kinds = {
        each.kind
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, PenstockError) and each.origin is Origin.CLIENT
    }
    return sorted({*kinds, ProviderRefused.kind})


def test_errors_are_what_is_not_the_clients_fault() -> None:
    """The lists of outcomes in the rules are the kinds whose origin is the client; all others are errors."""
    apart = "|".join(_not_errors())
    lists = [each for _, rule in _rules() for each in re.findall(r'outcome[!=]~"([^"]+)"', rule["expr"])]
    mentioning = [each for each in lists if "invalid_request" in each]
    assert len(mentioning) == 4
    assert {each.removeprefix("ok|") for each in mentioning} == {apart}


def test_quantiles_are_of_rates_summed_by_bound() -> None:
    """A quantile of buckets since the start, or without their bounds, is none."""
    quantiles = [rule["expr"] for _, rule in _rules() if "histogram_quantile" in rule["expr"]]
    good = re.compile(r"histogram_quantile\(0\.\d+, sum by \([\w, ]*\ble\) \(rate\(\w+_bucket\[5m\]\)\)\) >= 0")
    assert len(quantiles) > 10
    assert [each for each in quantiles if not good.fullmatch(each)] == []


def test_counters_are_never_looked_at_by_themselves() -> None:
    """What was counted since a process began is no alert: only rates are, and whether the series has begun."""
    bare = re.compile(r"penstock_\w+_(?:total|count|bucket)\b(?!(?:\{[^}]*\})?\[)")
    found = {rule["alert"]: bare.findall(rule["expr"]) for rule in ALERTS.values()}
    assert {alert: names for alert, names in found.items() if names} == {
        "PenstockLedgerRowsLost": ["penstock_ledger_rows_lost_total"] * 2
    }


def test_thresholds_are_defined_where_they_are_edited() -> None:
    """Each threshold that a rule asks for is in thresholds.yaml, and nowhere else."""
    text = (PLACE / "rules" / "thresholds.yaml").read_text("utf-8")
    asked = {name for _, rule in _rules() for name in re.findall(r"penstock:threshold:\w+", rule["expr"])}
    assert asked == set(re.findall(r"penstock:threshold:\w+", text))
    assert {file for file, rule in _rules() if "threshold:" in rule.get("record", "")} <= {
        "thresholds.yaml",
        "recording.yaml",
    }
