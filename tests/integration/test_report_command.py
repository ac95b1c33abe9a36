"""``penstock report`` on a store alone: its figures are those of ``penstock spend``, in SQLite and in PostgreSQL."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.clock import SystemClock
from penstock.core.records import LedgerRow
from penstock.ports.stores import Stores
from penstock.report.figures import TOPS
from penstock.stores.location import is_postgres
from tests.support.commands import Place
from tests.support.ledger_rows import exchange_row
from tests.support.month_of_spend import month_of_spend
from tests.support.postgres_server import database_of, end_shared_server

BUDGETS = """budgets:
  - {name: all, limit: 1000 CNY, window: total, timezone: Asia/Shanghai}
  - {name: per-user, scope: user, limit: 900000000 tokens, window: total, timezone: Asia/Shanghai}
"""


@pytest.fixture(scope="module", autouse=True)
def _server_ends_with_the_module() -> Iterator[None]:
    """PostgreSQL is started by the test that asks for it."""
    yield
    end_shared_server()


def fill(place: Place, *more: LedgerRow) -> None:
    """Some days of spend until now."""

    async def filled(stores: Stores) -> None:
        for rows in month_of_spend(SystemClock().now(), days=5):
            stores.ledger.append(rows)
        stores.ledger.append(more)
        await stores.ledger.flush()

    place.with_stores(filled)


def section(report: Any, name: str) -> list[dict[str, Any]]:
    """Its rows."""
    return [row for row in report["rows"] if row["section"] == name]


@pytest.fixture(params=["sqlite:penstock.db", "postgresql:"])
def filled(request: pytest.FixtureRequest, place: Place) -> Place:
    """A ledger with all that may stand in one."""
    place.store = database_of(place.directory) if is_postgres(request.param) else request.param
    config = place.directory / "penstock.yaml"
    config.write_text(config.read_text().replace("sqlite:penstock.db", place.store) + BUDGETS)
    unpriced = exchange_row("ex_u", at=SystemClock().now() - 10, model="new", cost_nano=None, baseline_nano=77)
    fill(place, unpriced)
    return place


def test_figures_are_those_of_spend(filled: Place) -> None:
    """Every grouping's rows and the total, to the nano-unit; the page has them too."""
    span = ("--since", "4d", "--timezone", "Asia/Shanghai", "--until", "2100-01-01")
    report = filled.json("report", "--since", "all", *span[2:], "--html", str(filled.directory / "r.html"))
    for by in ("lever", "day", *TOPS):
        spent = filled.json("spend", "--by", by, "--since", "all", *span[2:])
        columns = [name for name in spent["rows"][0] if name != by]
        assert [(row["name"], *(row[name] for name in columns)) for row in section(report, by)] == [
            (row[by], *(row[name] for name in columns)) for row in spent["rows"]
        ]
        assert spent["total"].items() <= report["total"].items()
    page = (filled.directory / "r.html").read_text("utf-8")
    assert f'data-exact="{report["total"]["cost"]}"' in page
    assert f'data-exact="{report["total"]["saved"]}"' in page


def test_it_says_how_fast_how_well_and_what_of_the_budgets(filled: Place) -> None:
    """Latency per model, calls apart from hits; outcomes; what is used of each budget, in its unit."""
    report = filled.json("report")
    assert {row["name"] for row in section(report, "latency")} == {"deepseek-flash", "deepseek-pro", "new"}
    for row in section(report, "latency"):
        assert row["p50_s"] <= row["p95_s"]
    assert sum(row["requests"] for row in section(report, "outcome")) == report["total"]["requests"]
    answered = section(report, "latency") + section(report, "latency_cached")
    assert sum(row["requests"] for row in answered) == section(report, "outcome")[0]["requests"]
    used = {row["name"]: (row["cost"], row["tokens"], row["limit"]) for row in section(report, "budget")}
    shown = {row["budget"]: row for row in filled.json("budgets", "show")["rows"]}
    assert used == {
        "all": (shown["all"]["used"], None, "1000.000000000"),
        "per-user: ": (None, int(shown["per-user"]["used"]), "900000000"),
    }
    assert report["total"]["unpriced"] == 1
    assert report["total"]["timezone"] == "Asia/Shanghai"


# --- the store does not matter below


@pytest.fixture
def small(place: Place) -> Place:
    """A filled SQLite store, without budgets."""
    fill(place)
    return place


def test_an_empty_ledger_has_a_report(place: Place) -> None:
    """Of nothing: zeros in the book's currency, in UTC, and a page that says so."""

    async def opened(_stores: Stores) -> None:
        """The store is there."""

    place.with_stores(opened)
    page = place.directory / "report.html"
    report = place.json("report", "--html", str(page))
    assert report["rows"] == []
    assert (report["total"]["cost"], report["total"]["currency"]) == ("0.000000000", "CNY")
    assert report["total"]["timezone"] == "UTC"
    assert "No request ended in this time." in page.read_text("utf-8")
    assert place.run("report") == "Nothing to show.\n"


@pytest.mark.parametrize("span", [("--since", "1d"), ("--since", "now"), ("--since", "all"), ("--since", "2020-01-01")])
def test_any_span_has_one(small: Place, span: tuple[str, str]) -> None:
    """A day by hours, no time at all, and ever; all of them as a page."""
    small.run("report", *span, "--html", str(small.directory / "report.html"))
    assert small.errors.startswith("Wrote ")
    assert bool(section(small.json("report", *span), "hour")) == (span[1] == "1d")


def test_csv_and_tables_have_all_of_it(small: Place) -> None:
    """One head for all sections, every row as long as it; nobody is said to be nobody."""
    lines = list(csv.reader(io.StringIO(small.run("report", "--format", "csv"))))
    assert lines[0][:2] == ["section", "name"]
    assert {len(line) for line in lines} == {len(lines[0])}
    assert {"lever", "day", "model", "key", "team", "tag", "latency", "outcome"} <= {line[0] for line in lines}
    assert "(none)" in small.run("report")


def test_the_page_goes_where_it_is_asked_to(small: Place) -> None:
    """To a file, which it replaces whole, without rows beside it; or to standard output."""
    page = small.directory / "report.html"
    page.write_text("before")
    assert small.run("report", "--html", str(page)) == ""
    assert page.read_text("utf-8").endswith("</html>\n")
    assert [path.name for path in small.directory.iterdir() if path.name.startswith((".__", "report"))] == [page.name]
    assert small.run("report", "--html", "-").endswith("</html>\n")


@pytest.mark.parametrize(
    ("arguments", "says", "code"),
    [
        (("--since", "yesterday"), "is no time", 2),
        (("--timezone", "Moon/Base"), "there is no time zone", 2),
        (("--since", "now", "--until", "7d"), "is later than", 2),
        (("--top", "0"), "--top", 2),
        (("--html", "no/such/place.html"), "no/such/place.html", 1),
    ],
)
def test_what_cannot_be_is_said(small: Place, arguments: tuple[str, ...], says: str, code: int) -> None:
    """In a sentence, with the right exit code."""
    small.run("report", *arguments, code=code)
    assert says in small.errors
    assert "Traceback" not in small.errors


def test_without_a_store_it_says_so(place: Place, tmp_path: Path) -> None:
    """As every command that reads one."""
    place.run("report", "--html", str(tmp_path / "report.html"), code=1)
    assert "penstock.db" in place.errors
    assert not (tmp_path / "report.html").exists()
