"""Budgets survive being written and read; limits are exact in every currency."""

import contextlib
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from penstock.config.allowance import MOST_MONEY, MOST_TOKENS, Allowance, format_allowance, parse_allowance
from penstock.config.budget_records import read_budget
from penstock.config.budgets import Around, budget_of, fields_of, in_book
from penstock.config.document import Document, Map, tree_of
from penstock.config.schema import BudgetSection
from penstock.config.validation import read_section
from penstock.core.budget import STEPS
from penstock.core.money import NANO
from penstock.core.windows import WINDOWS
from penstock.errors import ConfigError

AROUND = Around("CNY", {"USD": Decimal("7.10")}, None, steps_down=True)
amounts = st.decimals(0, MOST_MONEY // 1000, places=9)

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
def sections(draw: st.DrawFn) -> BudgetSection:
    """Any budget that a file can write, in currencies of its own."""
    money = st.builds(Allowance, amounts, st.sampled_from(("CNY", "USD")))
    tokens = st.builds(Allowance, st.integers(0, MOST_TOKENS).map(Decimal), st.just("tokens"))
    limits = draw(st.sampled_from((money, tokens)))
    scope = draw(st.sampled_from(("global", "team", "key", "user", "model")))
    hard = draw(st.booleans())
    steps = draw(st.sets(st.sampled_from(STEPS if hard else STEPS[:-1])))
    heights = sorted(draw(fractions) for _ in steps)
    written = {
        "name": draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)),
        "scope": scope,
        "limit": format_allowance(draw(limits)),
        "window": draw(st.sampled_from(WINDOWS)),
        "timezone": draw(zones).key,
        "hard": hard,
        "alerts": draw(st.lists(fractions, max_size=4)),
        "unlisted": "default" if scope == "global" else draw(st.sampled_from(("default", "deny"))),
        "entries": {} if scope == "global" else draw(st.dictionaries(names, limits.map(format_allowance), max_size=4)),
        "ladder": dict(zip([step for step in STEPS if step in steps], heights, strict=True)),
    }
    tree = tree_of(written, ())
    assert isinstance(tree, Map)
    return read_section(Document("b", root=tree), BudgetSection)


@given(sections(), st.decimals("0.000001", 1000, places=6))
def test_a_budget_is_read_as_it_was_written(section: BudgetSection, rate: Decimal) -> None:
    """To the nano-unit, with every field, whatever the rate has become."""
    around = Around("CNY", {"USD": rate}, None, steps_down=True)
    assert read_budget(section.name, fields_of(section), around) == budget_of(section, around)


@given(st.builds(Allowance, amounts, st.just("CNY")))
def test_limits_round_trip(limit: Allowance) -> None:
    """As written, exactly."""
    assert parse_allowance(format_allowance(limit)) == limit


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
