"""The gaps of a price book are found, and only they."""

from math import inf

from penstock.core.coverage import Gap, gaps
from penstock.core.pricebook import Entry, PricedModel


def entry(since: float, until: float) -> Entry:
    """Without prices: only its time matters here."""
    return Entry(since, until, (), (), None, "source", "2026-01-01")


def test_a_time_priced_in_one_currency_only_is_a_gap_of_the_other() -> None:
    """Adjoining stretches are one gap when the same currencies have a price in them."""
    dollars = (entry(10, 20), entry(20, 30), entry(30, inf))
    yuan = (entry(10, 15), entry(28, inf))
    model = PricedModel("maker", "model", {"USD": dollars, "CNY": yuan})
    assert gaps([model]) == [Gap("maker", "model", "CNY", 15, 28, ("USD",))]


def test_a_time_without_any_price_is_a_gap_of_each_currency() -> None:
    """Between two entries nothing is priced; before the first and after the last nothing is claimed."""
    model = PricedModel("maker", "model", {"USD": (entry(10, 20), entry(25, 30))})
    assert gaps([model]) == [Gap("maker", "model", "USD", 20, 25, ())]


def test_gaps_that_do_not_adjoin_or_differ_stay_apart() -> None:
    """One gap per stretch, and per set of currencies that have a price in it."""
    dollars = (entry(10, 20), entry(30, 40), entry(50, 60))
    yuan = (entry(10, 15), entry(30, 35), entry(55, 60))
    model = PricedModel("maker", "model", {"USD": dollars, "CNY": yuan})
    assert [(gap.since, gap.until, gap.priced_in) for gap in gaps([model]) if gap.currency == "CNY"] == [
        (15, 20, ("USD",)),
        (20, 30, ()),
        (35, 40, ("USD",)),
        (40, 50, ()),
        (50, 55, ("USD",)),
    ]


def test_a_price_between_two_gaps_parts_them() -> None:
    """Though the same currencies have a price in both."""
    model = PricedModel("maker", "model", {"USD": (entry(10, 60),), "CNY": (entry(10, 15), entry(30, 35))})
    assert [(gap.since, gap.until) for gap in gaps([model])] == [(15, 30), (35, 60)]


def test_what_is_covered_has_no_gap() -> None:
    """Two currencies that change price at different times, always priced."""
    model = PricedModel("maker", "model", {"USD": (entry(10, 20), entry(20, inf)), "CNY": (entry(10, inf),)})
    assert gaps([model]) == []
