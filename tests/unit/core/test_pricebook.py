"""The price book answers for an instant, or says what it does know."""

from datetime import date
from math import inf
from zoneinfo import ZoneInfo

import pytest

from penstock.core.pricebook import Alias, Entry, PriceBook, PricedModel, Tier, instant_text
from penstock.core.pricing import Rates
from penstock.core.schedule import Schedule, Window
from penstock.errors import PriceError
from tests.support.instants import epoch

SOLD = epoch("2026-01-01T00:00Z")
RAISED = epoch("2026-02-01T00:00Z")
RENAMED = epoch("2026-03-01T00:00Z")
RETIRED = epoch("2026-04-01T00:00Z")
HOLIDAYS = {2026: frozenset({date(2026, 2, 16)})}
OFFICE = Schedule("office", ZoneInfo("Asia/Shanghai"), (Window(540, 720),), True, frozenset(range(5)), HOLIDAYS)


def flat(price: int) -> Rates:
    """The same price in every bucket."""
    return Rates(price, price, price, price, "CNY", f"at {price}")


def tiers(price: int, *bounds: float) -> tuple[Tier, ...]:
    """Tiers whose every rate is ``price``, one more in each further tier."""
    steps = enumerate(bounds or (inf,))
    return tuple(Tier(bound, flat(price + step)) for step, bound in steps)


def entry(since: float, until: float, price: int, schedule: Schedule | None = None, *bounds: float) -> Entry:
    """Half price off-peak."""
    return Entry(since, until, tiers(price, *bounds), tiers(price // 2, *bounds), schedule, "source", "2026-01-01")


def book() -> PriceBook:
    """Two models of one maker; the old name means the new model for a while."""
    new = PricedModel(
        "maker",
        "new",
        {"CNY": (entry(SOLD, RAISED, 10), entry(RAISED, inf, 20, OFFICE))},
        (Alias("old", RENAMED, RETIRED), Alias("newer", -inf, inf)),
    )
    old = PricedModel("maker", "old", {"CNY": (entry(SOLD, RENAMED, 100),), "USD": (entry(SOLD, RENAMED, 7),)})
    long = PricedModel("maker", "long", {"CNY": (entry(SOLD, inf, 30, None, 32_000, 128_000),)})
    return PriceBook([new, old, long])


def price(model: str, at: float, prompt_tokens: int = 1, currency: str = "CNY") -> int:
    """The price of a missed token."""
    return book().rates("maker", model, currency, at, prompt_tokens).input_miss


def test_an_entry_holds_from_its_first_second_until_the_next_begins() -> None:
    """Both sides of the boundary."""
    assert price("new", RAISED - 1) == 10
    assert price("new", RAISED) == 10  # off-peak: 08:00 in Beijing on a Sunday
    assert price("new", epoch("2026-02-02T02:00Z")) == 20


def test_a_tariff_says_how_long_it_holds() -> None:
    """No longer than its span and its entry."""
    tariff = book().tariff("maker", "new", "CNY", epoch("2026-02-02T02:00Z"))
    assert (tariff.name, tariff.since, tariff.until) == ("peak", epoch("2026-02-02T01:00Z"), epoch("2026-02-02T04:00Z"))
    flat = book().tariff("maker", "new", "CNY", SOLD)
    assert (flat.name, flat.since, flat.until) == ("flat", SOLD, RAISED)


def test_a_tariff_is_followed_over_midnights() -> None:
    """From Friday noon it is off-peak until Monday morning."""
    prices = book()
    friday = prices.tariff("maker", "new", "CNY", epoch("2026-02-06T05:00Z"))
    assert prices.holds_until("maker", "new", "CNY", friday) == epoch("2026-02-09T01:00Z")
    ending = prices.tariff("maker", "old", "USD", SOLD)
    assert prices.holds_until("maker", "old", "USD", ending) == RENAMED


def test_the_tier_is_chosen_by_the_prompt_and_includes_its_bound() -> None:
    """32,000 tokens are still in the first tier; beyond the last there is no price."""
    assert [price("long", SOLD, tokens) for tokens in (0, 32_000, 32_001, 128_000)] == [30, 30, 31, 31]
    with pytest.raises(PriceError, match="for a prompt of 128001 tokens") as caught:
        price("long", SOLD, 128_001)
    assert "ends at 128000 tokens" in caught.value.detail


def test_a_name_may_mean_another_model_within_dates() -> None:
    """The old name is billed as itself, then as the new model, then not at all."""
    assert price("old", RENAMED - 1) == 100
    assert book().tariff("maker", "old", "CNY", RENAMED).model == "new"
    assert price("old", RENAMED) == price("new", RENAMED)
    assert price("newer", SOLD) == 10
    with pytest.raises(PriceError):
        price("old", RETIRED)


def test_asking_again_after_a_boundary_asks_the_book_again() -> None:
    """The remembered tariff is used within its interval only, backwards in time as well."""
    prices = book()
    instants = [RENAMED - 1, RENAMED, RENAMED - 1, SOLD]
    answers = [prices.rates("maker", "old", "CNY", at, 1).input_miss for at in instants]
    assert answers == [100, 10, 100, 100]


@pytest.mark.parametrize(
    ("owner", "model", "currency", "at", "detail"),
    [
        ("nobody", "new", "CNY", SOLD, "there is no book nobody"),
        ("maker", "other", "CNY", SOLD, "the book maker knows new, old, long"),
        ("maker", "new", "USD", SOLD, "it has prices in CNY"),
        ("maker", "new", "CNY", SOLD - 1, "it has prices from 2026-01-01T00:00Z to now"),
        ("maker", "old", "CNY", RETIRED, "it has prices from 2026-01-01T00:00Z to 2026-04-01T00:00Z"),
    ],
)
def test_a_missing_price_is_named_with_what_to_do(
    owner: str, model: str, currency: str, at: float, detail: str
) -> None:
    """Provider, model, currency and instant for everybody; what the book knows and what to do for the operator."""
    with pytest.raises(PriceError) as caught:
        book().rates(owner, model, currency, at, 1)
    assert caught.value.public == f"no price covers {owner}/{model} in {currency} at {instant_text(at)}"
    assert caught.value.detail.startswith(detail)
    assert f"prices/{owner}.yaml" in caught.value.detail


def test_known_means_ever_priced() -> None:
    """By its own name or as an alias, in that currency, at any time."""
    prices = book()
    assert prices.known("maker", "old", "USD")
    assert prices.known("maker", "newer", "CNY")
    assert not prices.known("maker", "newer", "USD")
    assert not prices.known("nobody", "new", "CNY")
    assert prices.models("maker") == ("new", "old", "long")


def test_an_unknown_calendar_year_is_warned_about_once() -> None:
    """However many calls are priced on the guess."""
    prices = book()
    for day in ("2027-01-04T02:00Z", "2027-01-04T05:00Z", "2027-03-01T02:00Z"):
        prices.rates("maker", "new", "CNY", epoch(day), 1)
    (warning,) = prices.warnings
    assert "2027" in warning
    assert "priced at peak" in warning


@pytest.mark.parametrize(("at", "text"), [(0.0, "1970-01-01T00:00Z"), (61.5, "1970-01-01T00:01:01Z"), (inf, "")])
def test_instants_are_written_in_utc(at: float, text: str) -> None:
    """To the minute where that is exact; forever is nothing."""
    assert instant_text(at) == text
