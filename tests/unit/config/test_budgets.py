"""Budgets of the file: what they come to, and limits in the book currency."""

from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from penstock.config.allowance import Allowance, parse_allowance
from penstock.core.budget import Budget
from tests.support.configs import loaded, mistakes

FULL = """
fx: {USD: 7.123456789}
cache: {exact: {stale: 24h}}
budget_wait: 2s
bound: calibrated
providers: {sim: {kind: sim}}
models:
  m: {deployments: [{provider: sim}], cheaper: n, aliases: {old: {}}}
  n: {deployments: [{provider: sim}]}
budgets:
  - {name: all, limit: 3000 CNY}
  - name: per-user
    scope: user
    limit: 0.000000001 USD
    window: day
    timezone: Asia/Shanghai
    hard: false
    alerts: [1.0, 0.5, 0.5]
    unlisted: deny
    entries: {1001: 0.45 USD, alice: 1 CNY}
    ladder: {cheaper: 0.95, stale: 0.8}
"""


def test_a_budget_is_complete(tmp_path: Path) -> None:
    """What is absent has its default; money is in nano-units of the book, converted once, and never rounded up."""
    settings = loaded(FULL, tmp_path)
    assert settings.budgets == (
        Budget("all", "global", "money", 3_000_000_000_000, "month", ZoneInfo("UTC")),
        Budget(
            "per-user",
            "user",
            "money",
            7,
            "day",
            ZoneInfo("Asia/Shanghai"),
            hard=False,
            alerts=(0.5, 1.0),
            unlisted="deny",
            entries={"1001": 3_205_555_555, "alice": 1_000_000_000},
            ladder={"stale": 0.8, "cheaper": 0.95},
        ),
    )
    assert list(settings.budgets[1].ladder) == ["stale", "cheaper"]
    assert (settings.budget_wait_s, settings.bound, settings.cache.stale_s) == (2.0, "calibrated", 86_400.0)
    assert {name: model.cheaper for name, model in settings.models.items()} == {"m": "n", "old": "n", "n": ""}


@pytest.mark.parametrize("scope", ["user", "team", "key"])
def test_the_empty_name_has_an_entry_in_quotes(scope: str, tmp_path: Path) -> None:
    """It stands for those without one: who writes no quotes has forgotten the name."""
    text = "budgets: [{name: b, scope: %s, limit: 9 tokens, entries: {%s: 5 tokens}}]"
    for quoted in ('""', "''"):
        (budget,) = loaded(text % (scope, quoted), tmp_path).budgets
        assert (budget.limit_of(""), budget.limit_of("ann")) == (5, 9)
    (mistake,) = mistakes(text % (scope, "? "), tmp_path)
    assert "must be plain text" in mistake


@pytest.mark.parametrize("scope", ["model", "tag", "global"])
def test_some_scopes_have_no_empty_name(scope: str, tmp_path: Path) -> None:
    """Every request names a model; one without tags falls under no budget of tags."""
    (mistake,) = mistakes(f'budgets: [{{name: b, scope: {scope}, limit: 9 CNY, entries: {{"": 5 CNY}}}}]', tmp_path)
    assert mistake.startswith('1: budgets[0].entries."": ')


def test_without_budgets_nothing_is_limited(tmp_path: Path) -> None:
    """And no answer is kept past its time."""
    settings = loaded("{}", tmp_path)
    assert (settings.budgets, settings.budget_wait_s, settings.bound, settings.cache.stale_s) == ((), 5.0, "bytes", 0.0)


def test_nothing_may_be_spent_under_a_limit_of_0(tmp_path: Path) -> None:
    """It is no mistake, in either unit."""
    text = "budgets: [{name: a, limit: 0 CNY}, {name: b, limit: 0 tokens}]"
    assert [(each.unit, each.limit) for each in loaded(text, tmp_path).budgets] == [("money", 0), ("tokens", 0)]


def test_stale_answers_that_nobody_keeps_are_warned_about(tmp_path: Path) -> None:
    """The step would never find any."""
    text = "budgets: [{name: a, limit: 1 CNY, ladder: {stale: 0.8}}]"
    (warning,) = loaded(text, tmp_path).warnings
    assert warning == "budgets: a accepts stale answers, and none are kept; set cache.exact.stale"
    assert loaded(text + "\ncache: {exact: {stale: 1h}}", tmp_path).warnings == ()


def test_an_alias_of_another_model_may_be_the_cheaper_one(tmp_path: Path) -> None:
    """Such as one with thinking switched off."""
    text = """
providers: {sim: {kind: sim}}
models:
  m: {deployments: [{provider: sim}], cheaper: quick}
  n: {deployments: [{provider: sim}], aliases: {quick: {thinking: {type: disabled}}}}
"""
    assert loaded(text, tmp_path).models["m"].cheaper == "quick"


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("3000 CNY", "3000", "CNY"),
        ("3000CNY", "3000", "CNY"),
        ("0.000000001 USD", "0.000000001", "USD"),
        ("100000 tokens", "100000", "tokens"),
        ("2.0 tokens", "2.0", "tokens"),
        ("0 tokens", "0", "tokens"),
        ("1000000000000000 tokens", "1000000000000000", "tokens"),
    ],
)
def test_limits_are_read(text: str, amount: str, unit: str) -> None:
    """An amount and its unit, with or without a space between."""
    assert parse_allowance(text) == Allowance(Decimal(amount), unit)
