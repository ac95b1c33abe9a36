"""``penstock budgets``: on the store alone, and through a server that runs."""

from typing import Any

import pytest

from penstock.clock import SystemClock
from penstock.core.records import OPEN
from penstock.core.usage import Usage
from penstock.ports.stores import Stores
from tests.support.commands import Place, Server
from tests.support.ledger_rows import attempt_row, exchange_row, share_row

BUDGETS = """budgets:
  - {name: all, limit: 1 CNY, window: day, timezone: Asia/Shanghai}
  - {name: per-user, scope: user, limit: 1000 tokens, window: total, entries: {bob: 5 tokens}}
"""


@pytest.fixture
def spent(place: Place) -> Place:
    """Alice has spent 150 tokens for 0.123456789 CNY, and a call of hers is under way."""
    config = place.directory / "penstock.yaml"
    config.write_text(config.read_text() + BUDGETS)
    place.with_stores(alices_calls)
    return place


async def alices_calls(stores: Stores) -> None:
    """One that ended, with its charge, and one that has not."""
    now = SystemClock().now()
    common: dict[str, Any] = {"at": now, "user": "alice"}
    usage, charge = Usage(100, 0, 0, 50, 0), 123_456_789
    held: dict[str, Any] = {"held_nano": 7, "held_tokens": 70}
    stores.ledger.append(
        [
            exchange_row("ex_1", cost_nano=charge, usage=usage, **common),
            attempt_row(
                "at_1", "ex_1", started_at=now, usage=usage, charged_nano=charge, charged_book_nano=charge, **held
            ),
            share_row("at_1", "ex_1", charge),
            exchange_row("ex_2", outcome=OPEN, **common),
            attempt_row("at_2", "ex_2", started_at=now, outcome=OPEN, **held),
        ]
    )
    await stores.ledger.flush()


def by_value(place: Place, *arguments: str) -> dict[tuple[str, str], tuple[str, str, str, str]]:
    """(budget, value) -> used, pending, limit, remaining."""
    rows = place.json("budgets", "show", *arguments)["rows"]
    names = ("used", "pending", "limit", "remaining")
    return {(row["budget"], row["value"]): tuple(row[name] for name in names) for row in rows}


def test_show_is_exact(spent: Place) -> None:
    """What was billed, what is held, what remains: of every account, in its own unit."""
    assert by_value(spent) == {
        ("all", ""): ("0.123456789", "0.000000007", "1.000000000", "0.876543204"),
        ("per-user", "alice"): ("150", "70", "1000", "780"),
        ("per-user", "bob"): ("0", "0", "5", "5"),
    }
    (row,) = spent.json("budgets", "show", "--name", "all")["rows"]
    assert (row["currency"], row["usage_percentage"], row["window"], row["hard"]) == ("CNY", 12.34, "day", True)
    assert row["resets_at"].endswith("T00:00:00+08:00")


def test_show_can_be_asked_for_one(spent: Place) -> None:
    """A value that spent nothing has its row too; an unknown budget is a mistake."""
    assert by_value(spent, "--value", "carol") == {("per-user", "carol"): ("0", "0", "1000", "1000")}
    assert list(by_value(spent, "--name", "per-user", "--value", "bob")) == [("per-user", "bob")]
    spent.run("budgets", "show", "--name", "none", code=1)
    assert "there is no budget 'none'" in spent.errors


def test_those_who_name_nobody_have_an_entry_too(spent: Place) -> None:
    """Under the empty name, which a table shows as (none)."""
    spent.run("budgets", "set", "per-user", "--value", "", "--limit", "77 tokens")
    assert by_value(spent)["per-user", ""] == ("0", "0", "77", "77")
    assert by_value(spent, "--value", "") == {("per-user", ""): ("0", "0", "77", "77")}
    assert [line.split()[2] for line in spent.run("budgets", "show", "--value", "").splitlines()[1:]] == ["(none)"]
    spent.run("budgets", "set", "per-user", "--value", "", "--remove")
    assert ("per-user", "") not in by_value(spent)


def test_show_has_a_table_and_csv(spent: Place) -> None:
    """The same figures for eyes and for spreadsheets."""
    assert "0.123456789" in spent.run("budgets", "show")
    line = spent.run("budgets", "show", "--format", "csv").splitlines()[2]
    assert line.startswith("per-user,user,alice,tokens,150,70,1000,780,15.0,,total,,")


def test_show_without_a_store_says_so(place: Place) -> None:
    """Exit code 1, a sentence, and no file made."""
    place.run("budgets", "show", code=1)
    assert "there is no store" in place.errors
    assert not (place.directory / "penstock.db").exists()


def test_what_is_set_replaces_the_config_and_outlives_the_process(spent: Place) -> None:
    """Only what is named changes; a new budget needs a limit."""
    assert spent.run("budgets", "set", "per-user", "--limit", "2000 tokens", "--soft") == "Set per-user.\n"
    spent.run("budgets", "set", "per-user", "--value", "alice", "--limit", "200000 tokens")
    spent.run("budgets", "set", "per-user", "--value", "bob", "--remove")
    spent.run(
        "budgets", "set", "models", "--limit", "0.5 USD", "--scope", "model", "--window", "hour", "--timezone",
        "Asia/Tokyo", "--unlisted", "deny", "--alert", "0.5", "--alert", "0.9", "--step", "thinking_off=0.8",
    )  # fmt: skip
    found = by_value(spent)
    assert found["per-user", "alice"] == ("150", "70", "200000", "199780")
    assert ("per-user", "bob") not in found
    rows = {row["budget"]: row for row in spent.json("budgets", "show")["rows"]}
    assert (rows["per-user"]["hard"], rows["per-user"]["window"]) == (False, "total")
    assert (rows["models"]["value"], rows["models"]["limit"], rows["models"]["window"]) == (
        "flash",
        "0.000000000",
        "hour",
    )
    (record,) = [each for each in spent.with_stores(lambda stores: stores.budgets.list()) if each.name == "models"]
    assert record.fields == {
        "limit": "0.5 USD", "scope": "model", "window": "hour", "timezone": "Asia/Tokyo", "unlisted": "deny",
        "alerts": [0.5, 0.9], "ladder": {"thinking_off": 0.8},
    }  # fmt: skip
    spent.run("budgets", "set", "fresh", "--soft", code=2)
    assert "budget fresh: limit: is missing" in spent.errors


def test_a_budget_is_removed(spent: Place) -> None:
    """The config's too; twice is a mistake."""
    assert spent.run("budgets", "set", "all", "--remove") == "Removed all.\n"
    assert ("all", "") not in by_value(spent)
    spent.run("budgets", "set", "all", "--remove", code=1)
    assert "there is no budget 'all'" in spent.errors


def test_a_budget_is_put_back_to_what_the_config_says(spent: Place) -> None:
    """After a change, after a removal; one that only the store had is gone. Twice is a mistake."""
    before = by_value(spent)
    spent.run("budgets", "set", "all", "--limit", "5 CNY")
    spent.run("budgets", "set", "per-user", "--remove")
    spent.run("budgets", "set", "extra", "--limit", "5 CNY")
    assert by_value(spent) != before
    assert spent.run("budgets", "reset", "all") == "Reset all: what the config says of it holds.\n"
    for name in ("per-user", "extra"):
        spent.run("budgets", "reset", name)
    assert by_value(spent) == before
    spent.run("budgets", "reset", "all", code=1)
    assert "nothing was set of a budget 'all'" in spent.errors


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--limit", "-1 CNY"], "'-1 CNY' is negative"),
        (["--limit", "3 XYZ"], "limit: is in XYZ"),
        (["--limit", "3 tokens", "--timezone", "Mars/Olympus"], "timezone: 'Mars/Olympus' is no time zone"),
        (["--limit", "3 tokens", "--alert", "nan"], "alerts[0]"),
        (["--limit", "3 tokens", "--step", "faster=1"], "ladder.faster: is no setting"),
        (["--limit", "3 tokens", "--step", "stale"], "stale=0.8"),
        (["--limit", "3 tokens", "--window", "year"], "year"),
        (["--limit", "3 tokens", "--remove"], "--remove"),
        (["--value", "alice"], "say what to set"),
        (["--value", "alice", "--soft"], "limit: is missing"),
        ([], "say what to set"),
    ],
)
def test_set_refuses_what_it_does_not_understand(place: Place, wrong: list[str], said: str) -> None:
    """Exit code 2, what is wrong, and nothing is stored."""
    place.run("budgets", "set", "x", *wrong, code=2)
    assert said in place.errors
    assert not place.with_stores(lambda stores: stores.budgets.list())


def test_a_running_server_takes_the_orders(place: Place, server: Server) -> None:
    """With the admin token; the store is left to it."""
    place.run("budgets", "set", "a/b", "--limit", "3 CNY", "--soft")
    place.run("budgets", "set", "all", "--value", "bob", "--remove")
    place.run("budgets", "set", "all", "--remove")
    place.run("budgets", "reset", "a/b")
    assert [asked[:3] for asked in server.asked] == [
        ("PUT", "/admin/budgets/a%2Fb", {"limit": "3 CNY", "hard": False}),
        ("PUT", "/admin/budgets/all", {"value": "bob", "limit": None}),
        ("DELETE", "/admin/budgets/all", None),
        ("POST", "/admin/budgets/a%2Fb/reset", None),
    ]
    assert not (place.directory / "penstock.db").exists()


def test_a_server_without_a_token_finds_budgets_in_its_store(place: Place, server: Server) -> None:
    """Where it looks every second."""
    config = place.directory / "penstock.yaml"
    config.write_text(config.read_text().replace(f", admin_token: {place.token}", ""))
    server.status = 401
    place.run("budgets", "set", "all", "--limit", "3 CNY")
    assert "will find this in sqlite:penstock.db" in place.errors
    assert by_value(place)["all", ""][2] == "3.000000000"
