"""Budgets survive being written and read; limits are exact in every currency."""

import contextlib
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from penstock.config.allowance import MOST_MONEY, MOST_TOKENS, Allowance, format_allowance, parse_allowance
from penstock.config.budget_records import fields_of, read_budget
from penstock.config.budgets import Around, in_book
from penstock.core.budget import STEPS, Budget
from penstock.core.money import NANO
from penstock.core.windows import WINDOWS
from penstock.errors import ConfigError

AROUND = Around("CNY", {"USD": Decimal("7.10")}, None, steps_down=True)
MOST = {"money": MOST_MONEY * NANO, "tokens": MOST_TOKENS}

zones = st.sampled_from(("UTC", "Asia/Shanghai", "America/St_Johns", "Pacific/Apia")).map(ZoneInfo)
fractions = st.decimals("0.000001", 10, places=6).map(float)
names = st.text(st.characters(categories=("L", "N", "P", "S")), max_size=12)
trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=10,
)
settings_of_budgets = st.sampled_from(
    ("scope", "limit", "window", "timezone", "hard", "alerts", "unlisted", "entries", "ladder", "name", "x")
)


@st.composite
def budgets(draw: st.DrawFn) -> Budget:
    """Any budget that a file can write."""
    unit = draw(st.sampled_from(("money", "tokens")))
    limits = st.integers(0, MOST[unit])
    scope = draw(st.sampled_from(("global", "team", "key", "user", "model")))
    hard = draw(st.booleans())
    steps = draw(st.sets(st.sampled_from(STEPS if hard else STEPS[:-1])))
    heights = sorted(draw(fractions) for _ in steps)
    return Budget(
        name=draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)),
        scope=scope,
        unit=unit,
        limit=draw(limits),
        window=draw(st.sampled_from(WINDOWS)),
        zone=draw(zones),
        hard=hard,
        alerts=tuple(sorted(draw(st.sets(fractions, max_size=4)))),
        unlisted="default" if scope == "global" else draw(st.sampled_from(("default", "deny"))),
        entries={} if scope == "global" else draw(st.dictionaries(names, limits, max_size=4)),
        ladder=dict(zip([step for step in STEPS if step in steps], heights, strict=True)),
    )


@given(budgets())
def test_a_budget_is_read_as_it_was_written(budget: Budget) -> None:
    """To the nano-unit, with every field."""
    assert read_budget(budget.name, fields_of(budget, "CNY"), AROUND) == budget


@given(st.integers(0, MOST_MONEY * NANO))
def test_limits_round_trip(limit: int) -> None:
    """In the book currency, exactly."""
    assert in_book(parse_allowance(format_allowance(limit, "CNY")), AROUND) == limit


@given(st.decimals(0, 10**9, places=9), st.decimals("0.000001", 1000, places=18))
def test_conversion_never_gives_more_than_it_should(amount: Decimal, rate: Decimal) -> None:
    """And less than one nano-unit less: no float and no rounding up on the way."""
    around = Around("CNY", {"USD": rate}, None, steps_down=False)
    exact = Fraction(amount) * Fraction(rate) * NANO
    assert 0 <= exact - in_book(Allowance(amount, "USD"), around) < 1


@given(st.text() | st.from_regex(r"-?[0-9.]{1,40} ?[A-Za-z]{0,20}", fullmatch=True))
def test_any_text_is_a_limit_or_refused(text: str) -> None:
    """With ValueError and nothing else; what is read is 0 or more."""
    with contextlib.suppress(ValueError):
        assert parse_allowance(text).amount >= 0


@given(st.dictionaries(settings_of_budgets, trees, max_size=6))
def test_any_fields_give_a_budget_or_mistakes(fields: dict[str, object]) -> None:
    """Whatever an operator sends: never an error of another kind, and each mistake says which budget."""
    found: list[str] = []
    try:
        read_budget("b", fields, AROUND)
    except ConfigError as error:
        found = error.mistakes
    assert all(line.startswith("budget b: ") for line in found)
