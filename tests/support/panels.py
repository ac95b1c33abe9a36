"""What the committed dashboards ask Prometheus, with the choices that Grafana would put in.

for asked in questions():
    prometheus.query(asked.expr)     # asked.dashboard and asked.panel say whose it is
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import yaml

from penstock.observe.metrics import DECLARED

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
DASHBOARDS: Final = tuple(sorted((DEPLOY / "grafana" / "dashboards").glob("*.json")))

CHOSEN: Final[Mapping[str, str]] = MappingProxyType(
    {"$__rate_interval": "1m", "$__range": "1h", "$__interval": "15s", "$datasource": "", "${datasource}": ""}
)
"""What Grafana puts in for its own; all that an operator may choose is ``.*``, as for All."""

NEEDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "penstock_ledger_spooled_bytes": "store: postgresql",
        "penstock_centre_up": "an edge and its centre",
        "penstock_account_balance": "a provider that tells its balance, providers.NAME.balance",
        "penstock_account_balance_low": "providers.NAME.balance.low",
        "penstock_ledger_drift_ratio": "a provider that tells its balance, and time",
        "penstock_tokens_per_day_limit": "alerts.tokens_per_day",
        "penstock:first_byte_threshold:seconds": "a model that thinks, or has an entry in thresholds.yaml",
        "penstock:cache_hit_ratio:past_day": "six hours with traffic",
        "penstock:prefix_hit_ratio:past_day": "six hours with traffic",
        "penstock:prefix_hits_lost:cost_per_hour": "six hours with traffic",
        "penstock:cost_same_hour:median": "a day with traffic",
        "penstock:cost_same_hour:most": "a day with traffic",
        "penstock:budget_projected:ratio": "a budget of whose window a tenth has passed",
        "penstock:budget_burn:per_hour": "a budget, and two evaluations",
    }
)
"""What has no series by itself, and what it takes."""

_PREPARED: Final = re.compile(r"\$\{?\w+\}?")
_SERIES: Final = re.compile(r"([a-zA-Z_:][\w:]*)\{")


class Question(NamedTuple):
    """One query of one panel. ``raw`` is as it stands in the file, ``expr`` what Prometheus gets."""

    dashboard: str
    panel: str
    raw: str
    legend: str
    exemplars: bool

    @property
    def expr(self) -> str:
        """Ready to be asked."""
        return prepared(self.raw)

    @property
    def names(self) -> set[str]:
        """Of the series that it is made of."""
        return set(_SERIES.findall(self.raw))

    @property
    def needs(self) -> list[str]:
        """What it takes for an answer besides some requests; none: it has to have one."""
        return sorted(NEEDS[name] for name in self.names & NEEDS.keys())


def prepared(raw: str) -> str:
    """With the choices put in."""
    return _PREPARED.sub(lambda found: CHOSEN.get(found[0], ".*"), raw)


def dashboards() -> list[dict[str, Any]]:
    """All of them, as Grafana reads them."""
    return [json.loads(path.read_text("utf-8")) for path in DASHBOARDS]


def panels(dashboard: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Without the headings of rows."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def questions() -> Iterator[Question]:
    """Every query of every panel of every dashboard."""
    for dashboard in dashboards():
        for panel in panels(dashboard):
            for target in panel["targets"]:
                yield Question(
                    dashboard["uid"], panel["title"], target["expr"], target["legendFormat"], target["exemplar"]
                )


def rules() -> Iterator[dict[str, Any]]:
    """Every rule of deploy/prometheus/rules."""
    for path in sorted((DEPLOY / "prometheus" / "rules").glob("*.yaml")):
        for group in yaml.load(path.read_text("utf-8"), yaml.CSafeLoader)["groups"]:
            yield from group["rules"]


def series_labels() -> dict[str, set[str]]:
    """The series that a scrape has, by name, with the labels that they have."""
    found = {}
    for each in DECLARED:
        parts = ("_bucket", "_sum", "_count") if each.bounds else ("",)
        for part in parts:
            found[each.name + part] = {*each.labels, "job", "instance"} | ({"le"} if part == "_bucket" else set())
    return found
