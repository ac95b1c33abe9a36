"""Budgets as they are shown."""

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.budget import Budget
from penstock.core.budget_report import BudgetStanding, budget_rows, open_holds, standings
from penstock.core.records import OPEN
from penstock.core.windows import Span
from tests.support.ledger_rows import AT, attempt_row, exchange_row

SHANGHAI = ZoneInfo("Asia/Shanghai")
MONEY = Budget("all", "global", "money", 3_000_000_000_001, "month", SHANGHAI)
TOKENS = Budget("per-user", "user", "tokens", 100, "total", ZoneInfo("UTC"), hard=False, entries={"bob": 7})
DAY = Span(AT - 10, AT + 10)


def test_a_row_is_exact() -> None:
    """Every nano-unit of used, limit and remaining, and the reset in the budget's zone."""
    standing = BudgetStanding(MONEY, "", MONEY.span(AT), MONEY.limit, used=1, pending=2_000_000_000)
    assert budget_rows([standing], "CNY") == [
        {
            "budget": "all",
            "scope": "global",
            "value": "",
            "unit": "CNY",
            "used": "0.000000001",
            "pending": "2.000000000",
            "limit": "3000.000000001",
            "remaining": "2998.000000000",
            "usage_percentage": 0.0,
            "currency": "CNY",
            "window": "month",
            "resets_at": "2026-12-01T00:00:00+08:00",
            "hard": True,
        }
    ]


def test_tokens_are_whole_and_total_is_never_reset() -> None:
    """And what was overrun leaves nothing, not less."""
    (row,) = budget_rows([BudgetStanding(TOKENS, "bob", TOKENS.span(AT), 7, used=9, pending=0)], "CNY")
    assert (row["unit"], row["used"], row["limit"], row["remaining"]) == ("tokens", "9", "7", "0")
    assert (row["usage_percentage"], row["currency"], row["resets_at"], row["hard"]) == (128.57, None, None, False)


@pytest.mark.parametrize(("used", "shown"), [(99_999, 99.99), (100_000, 100.0), (0, 0.0)])
def test_a_percentage_is_never_rounded_up(used: int, shown: float) -> None:
    """100 means used up."""
    budget = Budget("b", "global", "tokens", 100_000, "day", SHANGHAI)
    (row,) = budget_rows([BudgetStanding(budget, "", budget.span(AT), 100_000, used, 0)], "CNY")
    assert row["usage_percentage"] == shown


def test_a_limit_of_nothing_is_full_once_something_was_used() -> None:
    """No division by it."""
    budget = Budget("b", "global", "tokens", 0, "day", SHANGHAI)
    found = [BudgetStanding(budget, value, DAY, 0, used, 0) for value, used in (("a", 0), ("b", 3))]
    assert [row["usage_percentage"] for row in budget_rows(found, "CNY")] == [0.0, 100.0]


def test_who_spent_nothing_is_shown_when_listed() -> None:
    """Entries have a row from the start, as has the account of ``global``; others once something is on them."""
    found = standings(TOKENS, DAY, {"alice": 90}, {"carol": 1})
    assert [(each.value, each.limit, each.used, each.pending) for each in found] == [
        ("alice", 100, 90, 0),
        ("bob", 7, 0, 0),
        ("carol", 100, 0, 1),
    ]
    assert [each.value for each in standings(MONEY, DAY, {}, {})] == [""]


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 300)))
def test_the_fullest_comes_first(used: dict[str, int]) -> None:
    """Whatever the limits, and nothing is lost."""
    found = standings(TOKENS, DAY, used, {})
    assert [each.ratio for each in found] == sorted((each.ratio for each in found), reverse=True)
    assert {each.value: each.used for each in found} == {"bob": 0} | used


def test_open_attempts_hold_what_their_rows_say() -> None:
    """Those of this window that have not ended, on every value of the scope."""
    held = {"held_nano": 5, "held_tokens": 50}
    attempts = [
        attempt_row("1", "x", outcome=OPEN, **held),
        attempt_row("2", "x", outcome="ok", **held),
        attempt_row("3", "x", outcome=OPEN, started_at=AT + 10, **held),
        attempt_row("4", "x", outcome=OPEN, held_nano=None, held_tokens=1),
    ]
    left_open = [(exchange_row("x", outcome=OPEN, user="alice", tags={"a": "1", "b": "2"}), attempts)]
    tag = Budget("t", "tag", "money", 1, "day", SHANGHAI)
    assert open_holds(TOKENS, DAY, left_open) == {"alice": 51}
    assert open_holds(tag, DAY, left_open) == {"a=1": 5, "b=2": 5}
    assert open_holds(tag, Span(0, 1), left_open) == {}
