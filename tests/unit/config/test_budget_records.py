"""Budgets set while running, beside those of the file."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from penstock.config.budget_records import budgets_in_force, changed_fields
from penstock.config.settings import Settings
from penstock.errors import ConfigError
from penstock.ports.budgets import BudgetRecord
from tests.support.configs import loaded

FILE = """
fx: {USD: 7}
budgets:
  - {name: all, limit: 10 USD}
  - {name: per-user, scope: user, limit: 1000 tokens, window: day, entries: {bob: 5 tokens}}
"""
CHANGED: dict[str, Any] = {"scope": "user", "limit": "7 tokens", "window": "hour", "entries": {"alice": "9 tokens"}}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Two budgets in the file."""
    return loaded(FILE, tmp_path)


def test_a_record_replaces_removes_and_adds(settings: Settings) -> None:
    """In the place of what had its name; new ones come last, by name."""
    records = [
        BudgetRecord("zeta", {"limit": "1 CNY"}),
        BudgetRecord("alpha", {"limit": "2 USD", "hard": False, "alerts": [0.5]}),
        BudgetRecord("per-user", CHANGED),
        BudgetRecord("all", {}, removed=True),
        BudgetRecord("unknown", {}, removed=True),
    ]
    found = budgets_in_force(settings, records)
    assert [(each.name, each.limit, each.unit) for each in found] == [
        ("per-user", 7, "tokens"),
        ("alpha", 14_000_000_000, "money"),
        ("zeta", 1_000_000_000, "money"),
    ]
    assert dict(found[0].entries) == {"alice": 9}
    assert (found[1].hard, found[1].alerts) == (False, (0.5,))


def test_without_records_the_file_holds(settings: Settings) -> None:
    """Unchanged."""
    assert budgets_in_force(settings, []) == settings.budgets


def test_every_mistake_in_every_record_is_named(settings: Settings) -> None:
    """A currency that lost its rate, a model that is gone: nothing is guessed, and nothing is left unlimited."""
    records = [
        BudgetRecord("a", {"limit": "1 EUR"}),
        BudgetRecord("b", {"limit": True, "window": 5, "hard": "yes", "alerts": 0.5, "entries": [1], "lim": "red"}),
        BudgetRecord("c d", {"scope": "user"}),
    ]
    with pytest.raises(ConfigError) as caught:
        budgets_in_force(settings, records)
    assert caught.value.mistakes == [
        "budget a: limit: is in EUR, and the book is in CNY; add `fx: {EUR: ...}`, CNY per EUR",
        "budget b: limit: 'true' is no limit; write an amount and its unit, such as 3000 CNY or 100000 tokens",
        "budget b: window: '5' is unknown; use hour, day, week, month or total",
        "budget b: hard: must be true or false, without quotes",
        "budget b: alerts: must be a list, such as [one, two]",
        "budget b: entries: must be a mapping, such as {name: ...}",
        "budget b: lim: is no setting; did you mean limit?",
        "budget c d: name: 'c d' is no budget name; use letters, digits, `.`, `_` and `-`, 64 at most",
        "budget c d: limit: is missing; add `limit: ...`",
    ]


def test_a_change_leaves_alone_what_it_does_not_name(settings: Settings) -> None:
    """Of a budget of the file, and of a record."""
    fields = changed_fields("per-user", {"limit": "2000 tokens", "hard": False}, settings, [])
    assert fields == {**settings.written_budgets["per-user"], "limit": "2000 tokens", "hard": False}
    record = BudgetRecord("per-user", CHANGED)
    assert changed_fields("per-user", {"window": "week"}, settings, [record]) == CHANGED | {"window": "week"}


def test_a_changed_budget_keeps_the_currencies_it_was_written_in(settings: Settings) -> None:
    """So that a rate that changes later holds for it as for those of the file; of a record and of an entry too."""
    fields = changed_fields("all", {"alerts": [0.5]}, settings, [])
    assert (fields["limit"], fields["alerts"]) == ("10 USD", [0.5])
    fields = changed_fields("all", {"hard": False}, settings, [BudgetRecord("all", fields)])
    fields = changed_fields(
        "all",
        {"scope": "user", "value": "ann", "limit": "0.50 USD"},
        settings,
        [BudgetRecord("all", fields)],
    )
    dearer = replace(settings, fx={"USD": Decimal(8)})
    (found,) = (each for each in budgets_in_force(dearer, [BudgetRecord("all", fields)]) if each.name == "all")
    assert (found.limit, dict(found.entries)) == (80_000_000_000, {"ann": 4_000_000_000})


def test_null_puts_a_field_back_to_its_default(settings: Settings) -> None:
    """The limit has none."""
    record = BudgetRecord("per-user", CHANGED)
    assert "window" not in changed_fields("per-user", {"window": None}, settings, [record])
    with pytest.raises(ConfigError, match="budget per-user: limit: is missing"):
        changed_fields("per-user", {"limit": None}, settings, [record])


def test_a_removed_budget_begins_anew(settings: Settings) -> None:
    """Nothing of it or of the file's comes back with it."""
    gone = BudgetRecord("per-user", {}, removed=True)
    assert changed_fields("per-user", {"limit": "1 CNY"}, settings, [gone]) == {"limit": "1 CNY"}


def test_one_value_gets_and_loses_a_limit_of_its_own(settings: Settings) -> None:
    """The others keep theirs."""
    fields = changed_fields("per-user", {"value": "alice", "limit": "200000 tokens"}, settings, [])
    assert fields["limit"] == "1000 tokens"
    assert fields["entries"] == {"bob": "5 tokens", "alice": "200000 tokens"}
    fields = changed_fields("per-user", {"value": "bob", "limit": None}, settings, [BudgetRecord("per-user", fields)])
    assert fields["entries"] == {"alice": "200000 tokens"}


@pytest.mark.parametrize(
    ("change", "mistake"),
    [
        ({"value": "alice"}, "limit: is missing; say what the limit of 'alice' is"),
        ({"value": 5, "limit": "5 tokens"}, "value: must be text: a team, key, user, model or tag=value"),
        ({"value": "eve", "limit": None}, "value: 'eve' has no limit of its own; there is bob"),
        (
            {"value": "eve", "limit": "1 CNY"},
            "entries.eve: is in money, and the budget's limit in tokens; write both in one unit",
        ),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(change: dict[str, Any], mistake: str, settings: Settings) -> None:
    """With what to do."""
    with pytest.raises(ConfigError) as caught:
        changed_fields("per-user", change, settings, [])
    assert caught.value.mistakes == [f"budget per-user: {mistake}"]
