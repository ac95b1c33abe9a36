"""The page: everything put in is escaped, nothing is loaded, and figures of nothing make one too."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from penstock.core.budget import Budget
from penstock.core.budget_report import BudgetStanding
from penstock.core.windows import Span
from penstock.ports.ledger import Overview, OverviewQuery, Speed, SpendRow
from penstock.report import page, wording
from penstock.report.figures import Figures, figures, groupings
from penstock.report.page import render
from tests.support.ledger_rows import AT

TEMPLATES = Path(page.__file__).parent / "templates"
DAY_S = 86_400.0
NASTY = [
    "<script>document.title='owned'</script>", '"><img src=x onerror=alert(1)>', "' onload='alert(1)", "{{ 7 * 7 }}",
    "</style><script>alert(1)</script>", "</title><svg onload=alert(1)>", "javascript:alert(1)", "a\u202eb\x00c&amp;",
    "\u5ba2\u670d & \u56e2\u961f",
]  # fmt: skip


class Tags(HTMLParser):
    """The elements of a page, and their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note both."""
        self.elements.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        """Note it."""
        self.text += data


def spend_row(group: str, **fields: int) -> SpendRow:
    """Two requests, which paid two thirds of their baseline."""
    sums = {
        "requests": 2, "tokens": 300, "cost_nano": 2_000, "baseline_nano": 3_000, "saved_nano": 1_000, "wasted_nano": 0,
        "unpriced": 0, "errors": 0,
    }  # fmt: skip
    return SpendRow(group, **{**sums, **fields}, currency="CNY")


NOTHING = spend_row("total", **dict.fromkeys(("requests", "tokens", "cost_nano", "baseline_nano", "saved_nano"), 0))


def figures_of(name: str, days: float = 3.0, **fields: Any) -> Figures:
    """A report in which everything bears this name."""
    query = OverviewQuery(groupings(AT, AT + days * DAY_S), AT, AT + days * DAY_S, "Asia/Shanghai")
    groups = {by: [spend_row(name)] for by in query.groupings}
    speeds = [Speed(name, cached, to, 2, 0.5, 2.0) for cached in (False, True) for to in ("end", "first_byte")]
    budget = Budget(name=name, scope="team", limit=10, unit="tokens", window="month", zone=ZoneInfo("UTC"))
    standings = [BudgetStanding(budget, name, Span(0, 1), 10, 9, 0)]
    parts = {"spend": groups, "total": spend_row("total"), "speeds": speeds, "outcomes": {"ok": 2}, **fields}
    return figures(query, Overview(**parts), standings, currency="CNY", made_at=query.until)


def empty_figures(days: float) -> Figures:
    """Nothing happened."""
    query = OverviewQuery(groupings(AT, AT + days * DAY_S), AT, AT + days * DAY_S, "UTC")
    found = Overview({by: [] for by in query.groupings}, NOTHING, [], {})
    return figures(query, found, [], currency="CNY", made_at=query.until)


@pytest.mark.parametrize("name", NASTY)
def test_a_name_is_text_and_nothing_else(name: str) -> None:
    """The page has the same elements and attributes as with a harmless name, and shows the name as it is."""
    plain, nasty = Tags(render(figures_of("plain"), 10)), Tags(render(figures_of(name), 10))
    assert (nasty.elements, nasty.attributes) == (plain.elements, plain.attributes)
    assert wording.named(name) in nasty.text


@hypothesis_settings(max_examples=25)
@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_any_name_at_all_is_text(name: str) -> None:
    """Whatever a client may send."""
    assert Tags(render(figures_of(name), 10)).elements == Tags(render(figures_of("plain"), 10)).elements


def test_it_loads_and_runs_nothing() -> None:
    """No script, no link, no picture, no handler; and its own policy forbids them."""
    text = render(figures_of("plain"), 10)
    found = Tags(text)
    assert not {"script", "link", "img", "iframe", "object", "embed", "a", "form", "base"} & set(found.elements)
    assert not [name for name in found.attributes if name.startswith("on") or name in ("src", "href", "style")]
    assert not re.findall(r"https?:|url\(|@import|//\w", text)
    assert "default-src 'none'" in text


def test_no_template_lets_anything_pass() -> None:
    """Escaping is never switched off."""
    texts = {path.name: path.read_text("utf-8") for path in TEMPLATES.iterdir()}
    assert set(texts) == {"report.html", "charts.html", "report.css"}
    assert [name for name, text in texts.items() if re.search(r"\|\s*safe|autoescape|Markup", text)] == []


@pytest.mark.parametrize("days", [0, 0.5, 1, 30, 400])
def test_of_nothing_it_is_a_page_too(days: float) -> None:
    """It says that there was no request, and divides by nothing."""
    text = Tags(render(empty_figures(days), 10)).text
    assert "No request ended in this time." in text
    assert "nan" not in text.lower()


def test_what_is_not_priced_is_said() -> None:
    """The number of requests, and the step that they are."""
    total = spend_row("total", unpriced=1, cost_nano=2_500)
    text = Tags(render(figures_of("plain", total=total), 10)).text
    assert "Requests without a known price (1) save nothing here." in text
    assert "Without a known price" in text


def test_more_than_fits_is_counted() -> None:
    """Ten of each, and how many more there are."""
    groups = {by: [spend_row(f"{by}-{number}") for number in range(12)] for by in groupings(0, DAY_S * 3)}
    text = Tags(render(figures_of("plain", spend=groups), 10)).text
    assert text.count("and 2 more") == 4
    assert "key-9" in text
    assert "key-10" not in text


def test_a_loss_is_not_called_a_saving() -> None:
    """Where failed calls cost more than was saved."""
    total = spend_row("total", cost_nano=4_000, saved_nano=-1_000)
    text = Tags(render(figures_of("plain", total=total), 10)).text
    assert "more than without" in text
    assert " saved, " not in text


@pytest.mark.parametrize(
    ("days", "unit", "count"), [(1, "hour", 25), (3, "day", 4), (92, "month", 4), (400, "month", 14)]
)
def test_a_span_is_shown_in_parts_that_can_be_seen(days: float, unit: str, count: int) -> None:
    """Hours of up to two days, days of up to three months, else months; those without a request, too."""
    first = {"hour": "2026-11-18T19:00+08:00"}.get(unit, "2026-11-18")
    groups = {by: [spend_row(first)] for by in groupings(AT, AT + days * DAY_S)}
    made = figures_of("plain", days, spend=groups)
    assert (made.unit, len(made.periods)) == (unit, count)
    assert sum(period.cost_nano for period in made.periods) == 2_000
