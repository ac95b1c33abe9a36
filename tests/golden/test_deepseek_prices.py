"""What DeepSeek charged, to the nano-unit, at chosen instants of every era.

The amounts are worked out by hand from the published prices for 1,000 missed, 10,000 hit and 100 output tokens: with
prices h / m / o per million that is ``m * 1,000,000 + h * 10,000,000 + o * 100,000`` nano-units.
"""

from decimal import Decimal

import pytest

from penstock.config.prices import load_book
from penstock.core.pricebook import PriceBook
from penstock.core.pricing import charge
from penstock.core.usage import Usage
from penstock.errors import PriceError
from tests.support.instants import epoch

USAGE = Usage(input_miss=1_000, input_hit=10_000, output=100)


@pytest.fixture(scope="module", name="book")
def shipped_book() -> PriceBook:
    """The shipped price lists, read once."""
    return load_book()


def cost(book: PriceBook, model: str, currency: str, at: str) -> int:
    """What the usage cost then, in nano-units of ``currency``."""
    rates = book.rates("deepseek", model, currency, epoch(at), USAGE.prompt)
    return charge(USAGE, rates, Decimal(1)).native_nano


@pytest.mark.parametrize(
    ("at", "model", "currency", "nano"),
    [
        # V4.1 Flash, today: peak 0.006 / 0.30 / 1.20 and 0.04 / 2 / 8, off-peak half of it
        ("2026-11-20T10:00+08:00", "deepseek-flash", "CNY", 3_200_000),  # Friday, peak
        ("2026-11-20T13:00+08:00", "deepseek-flash", "CNY", 1_600_000),  # Friday, lunch
        ("2026-11-20T10:00+08:00", "deepseek-flash", "USD", 480_000),
        ("2026-11-20T23:00+08:00", "deepseek-flash", "USD", 240_000),
        ("2026-11-20T10:00+08:00", "deepseek-v4-flash", "USD", 480_000),  # an alias, billed as Flash
        ("2026-11-20T10:00+08:00", "deepseek-v4-flash-vision-exp", "CNY", 3_200_000),
        ("2026-11-21T10:00+08:00", "deepseek-flash", "USD", 240_000),  # Saturday
        ("2026-11-22T15:00+08:00", "deepseek-flash", "CNY", 1_600_000),  # Sunday
        ("2026-09-25T10:00+08:00", "deepseek-flash", "USD", 240_000),  # Friday, mid-autumn festival
        ("2026-10-10T10:00+08:00", "deepseek-flash", "CNY", 1_600_000),  # a Saturday made a workday
        ("2026-09-20T10:00+08:00", "deepseek-flash", "CNY", 1_600_000),  # a Sunday made a workday
        # V4 Pro, today: peak 0.044 / 1.32 / 3.96 and 0.30 / 9 / 27, off-peak half of it
        ("2026-10-01T10:00+08:00", "deepseek-v4-pro", "CNY", 7_350_000),  # Thursday, national day
        ("2026-10-08T10:00+08:00", "deepseek-v4-pro", "CNY", 14_700_000),  # Thursday after the holidays
        ("2026-10-08T10:00+08:00", "deepseek-v4-pro", "USD", 2_156_000),
        ("2026-10-08T08:00+08:00", "deepseek-v4-pro", "USD", 1_078_000),
        # V4 Flash from 2026-08-17 in Beijing: off-peak 0.007 / 0.22 / 0.66 and 0.05 / 1.5 / 4.5
        ("2026-08-17T10:00+08:00", "deepseek-flash", "USD", 712_000),
        ("2026-08-17T13:00+08:00", "deepseek-flash", "USD", 356_000),
        ("2026-08-22T10:00+08:00", "deepseek-flash", "CNY", 4_900_000),  # the last Saturday at peak
        ("2026-08-23T10:00+08:00", "deepseek-flash", "CNY", 2_450_000),  # the first Sunday off-peak
        # V4 preview: 0.028 / 0.14 / 0.28 and 0.2 / 1 / 2, pro 0.145 / 1.74 / 3.48 and 1 / 12 / 24
        ("2026-04-25T12:00Z", "deepseek-flash", "USD", 448_000),
        ("2026-04-25T12:00Z", "deepseek-flash", "CNY", 3_200_000),
        ("2026-04-25T12:00Z", "deepseek-v4-pro", "USD", 3_538_000),
        ("2026-04-25T12:00Z", "deepseek-v4-pro", "CNY", 24_400_000),
        # hits at a tenth, pro at a quarter: 0.0028 / 0.14 / 0.28, 0.02 / 1 / 2; 0.003625 / 0.435 / 0.87, 0.025 / 3 / 6
        ("2026-05-10T02:00Z", "deepseek-flash", "USD", 196_000),
        ("2026-05-10T02:00Z", "deepseek-flash", "CNY", 1_400_000),
        ("2026-05-10T02:00Z", "deepseek-v4-pro", "USD", 558_250),
        ("2026-05-10T02:00Z", "deepseek-v4-pro", "CNY", 3_850_000),
        ("2026-05-10T02:00Z", "deepseek-chat", "USD", 196_000),  # V4 Flash without thinking
        ("2026-05-10T02:00Z", "deepseek-reasoner", "CNY", 1_400_000),  # V4 Flash with thinking
        # V3.2: 0.028 / 0.28 / 0.42 and 0.2 / 2 / 3
        ("2025-12-01T02:00Z", "deepseek-chat", "USD", 602_000),
        ("2025-12-01T02:00Z", "deepseek-reasoner", "CNY", 4_300_000),
        # V3.1: 0.07 / 0.56 / 1.68
        ("2025-09-10T18:00Z", "deepseek-chat", "USD", 1_428_000),
        ("2025-09-10T18:00Z", "deepseek-reasoner", "USD", 1_428_000),
        # the nights of 2025: 0.035 / 0.135 / 0.55 and 0.25 / 1 / 4 for both
        ("2025-06-01T18:00Z", "deepseek-chat", "USD", 540_000),
        ("2025-06-01T18:00Z", "deepseek-reasoner", "USD", 540_000),
        ("2025-06-01T18:00Z", "deepseek-chat", "CNY", 3_900_000),
        ("2025-06-01T18:00Z", "deepseek-reasoner", "CNY", 3_900_000),
        # their days, and before: V3 0.07 / 0.27 / 1.10 and 0.5 / 2 / 8, R1 0.14 / 0.55 / 2.19 and 1 / 4 / 16
        ("2025-06-01T12:00Z", "deepseek-chat", "USD", 1_080_000),
        ("2025-02-20T18:00Z", "deepseek-chat", "CNY", 7_800_000),
        ("2025-02-20T18:00Z", "deepseek-reasoner", "USD", 2_169_000),
        ("2025-06-01T12:00Z", "deepseek-reasoner", "CNY", 15_600_000),
        # V2, both names: 0.014 / 0.14 / 0.28 and 0.1 / 1 / 2
        ("2024-12-01T00:00Z", "deepseek-chat", "USD", 308_000),
        ("2024-12-01T00:00Z", "deepseek-coder", "CNY", 2_200_000),
    ],
)
def test_a_call_costs_what_was_published(book: PriceBook, at: str, model: str, currency: str, nano: int) -> None:
    """Peak, off-peak, weekend, holiday, made-up workday and every era, in both currencies."""
    assert cost(book, model, currency, at) == nano


@pytest.mark.parametrize(
    ("boundary", "model", "currency", "costs"),
    [
        ("2026-11-20T01:00:00Z", "deepseek-flash", "CNY", [1_600_000, 3_200_000]),
        ("2026-11-20T04:00:00Z", "deepseek-flash", "CNY", [3_200_000, 1_600_000]),
        ("2026-11-20T06:00:00Z", "deepseek-flash", "CNY", [1_600_000, 3_200_000]),
        ("2026-11-20T10:00:00Z", "deepseek-flash", "CNY", [3_200_000, 1_600_000]),
        ("2026-09-10T04:00:00Z", "deepseek-flash", "USD", [712_000, 240_000]),  # peak ends with the old price
        ("2026-08-16T16:00:00Z", "deepseek-flash", "USD", [196_000, 356_000]),
        ("2026-08-16T16:00:00Z", "deepseek-v4-pro", "CNY", [3_850_000, 7_350_000]),
        ("2026-04-26T12:15:00Z", "deepseek-flash", "CNY", [3_200_000, 1_400_000]),
        ("2026-04-26T12:15:00Z", "deepseek-v4-pro", "USD", [3_538_000, 2_233_000]),  # hits at a tenth, not yet 75 % off
        ("2026-04-27T00:00:00Z", "deepseek-v4-pro", "USD", [2_233_000, 558_250]),
        ("2026-04-25T00:00:00Z", "deepseek-chat", "USD", [602_000, 448_000]),  # the name becomes V4 Flash
        ("2025-09-30T00:00:00Z", "deepseek-chat", "USD", [1_428_000, 602_000]),
        ("2025-09-05T16:00:00Z", "deepseek-chat", "USD", [1_080_000, 1_428_000]),
        ("2025-06-01T16:30:00Z", "deepseek-reasoner", "CNY", [15_600_000, 3_900_000]),
        ("2025-06-02T00:30:00Z", "deepseek-reasoner", "CNY", [3_900_000, 15_600_000]),
        ("2025-02-26T16:30:00Z", "deepseek-chat", "CNY", [7_800_000, 3_900_000]),
        ("2025-02-08T16:00:00Z", "deepseek-chat", "CNY", [2_200_000, 7_800_000]),
    ],
)
def test_a_price_changes_at_its_second(
    book: PriceBook, boundary: str, model: str, currency: str, costs: list[int]
) -> None:
    """One second before a boundary the old price holds, at it the new one."""
    rates = [book.rates("deepseek", model, currency, epoch(boundary) - early, USAGE.prompt) for early in (1, 0)]
    assert [charge(USAGE, each, Decimal(1)).native_nano for each in rates] == costs


@pytest.mark.parametrize(
    ("at", "model", "currency"),
    [
        ("2026-07-24T15:59Z", "deepseek-chat", "USD"),  # the names are gone
        ("2026-07-24T15:59Z", "deepseek-reasoner", "CNY"),
        ("2025-09-10T00:00Z", "deepseek-chat", "CNY"),  # V3.1 has no source in CNY
        ("2025-09-29T23:59Z", "deepseek-reasoner", "CNY"),
        ("2024-08-15T00:00Z", "deepseek-chat", "USD"),  # August 2024 is known to the month only
        ("2026-04-20T00:00Z", "deepseek-flash", "CNY"),  # not sold yet
    ],
)
def test_an_era_without_a_source_has_no_price(book: PriceBook, at: str, model: str, currency: str) -> None:
    """Unpriced is an answer; a guess is none."""
    with pytest.raises(PriceError, match=f"no price covers deepseek/{model} in {currency}"):
        cost(book, model, currency, at)


def test_the_ledger_can_name_the_tariff(book: PriceBook) -> None:
    """The source of a rate names file, model, effective-from and tariff."""
    rates = book.rates("deepseek", "deepseek-v4-flash", "USD", epoch("2026-09-11T12:00Z"), 1)
    assert rates.source == "deepseek/deepseek-flash from 2026-09-10T04:00Z off-peak"


@pytest.mark.parametrize(
    ("at", "nano"),
    [
        ("2026-11-20T21:59:59+08:00", 9_000_000 + 9_000_000 + 2_700_000),
        ("2026-11-20T22:00:00+08:00", 4_500_000 + 4_500_000 + 1_350_000),
        ("2026-11-21T07:59:59+08:00", 4_500_000 + 4_500_000 + 1_350_000),
        ("2026-11-21T08:00:00+08:00", 9_000_000 + 9_000_000 + 2_700_000),
    ],
)
def test_the_same_model_has_other_hours_elsewhere(book: PriceBook, at: str, nano: int) -> None:
    """Alibaba's own off-peak for DeepSeek is 22:00 to 08:00 in Beijing, every day."""
    rates = book.rates("dashscope", "deepseek-v4-pro-0813", "CNY", epoch(at), USAGE.prompt)
    assert charge(USAGE, rates, Decimal(1)).native_nano == nano
