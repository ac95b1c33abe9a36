"""A charge is rates times tokens, rounded once per amount."""

from decimal import Decimal

import pytest

from penstock.core.pricing import Charge, Rates, charge, flat_rates
from penstock.core.usage import Usage
from penstock.errors import PriceError

RATES = Rates(2_000_000_000, 40_000_000, 2_500_000_000, 8_000_000_000, "CNY", "test")
OWN = (Decimal("0.2"), Decimal("0.05"), Decimal("0.4"))


def test_every_bucket_is_priced_by_its_own_rate() -> None:
    """Miss, hit, write and output each have a rate; reasoning is a part of the output and adds nothing."""
    usage = Usage(input_miss=1_000, input_hit=10_000, cache_write=100, output=300, reasoning=200)
    assert charge(usage, RATES, Decimal(1)) == Charge(5_050_000, "CNY", 5_050_000, "1")


def test_both_amounts_are_rounded_from_the_exact_product() -> None:
    """The book amount of half a nano-dollar is not that of its rounded value."""
    rates = Rates(500_000, 0, 0, 0, "USD", "test")
    assert charge(Usage(input_miss=1), rates, Decimal("7.10")) == Charge(0, "USD", 4, "7.1")
    assert charge(Usage(input_miss=3), rates, Decimal("7.10")) == Charge(2, "USD", 11, "7.1")


@pytest.mark.parametrize(("fx", "text"), [("7", "7"), ("7.100", "7.1"), ("1E+1", "10"), ("0.14", "0.14"), ("1.0", "1")])
def test_the_exchange_rate_is_kept_as_a_plain_decimal(fx: str, text: str) -> None:
    """The ledger's text has no exponent and no idle zeros."""
    assert charge(Usage(output=1), RATES, Decimal(fx)).fx_rate == text


def test_own_prices_become_rates() -> None:
    """A configured price without a write price charges writes as input."""
    rates = flat_rates(*OWN, currency="CNY", source="config")
    assert rates == Rates(200_000_000, 50_000_000, 200_000_000, 400_000_000, "CNY", "config")
    assert flat_rates(*OWN, Decimal("0.25"), currency="CNY", source="config").cache_write == 250_000_000


@pytest.mark.parametrize("price", ["0.0000000001", "-0.000000001", "NaN"])
def test_an_unusable_own_price_is_refused(price: str) -> None:
    """More than 9 decimals, below zero, no number: named when the config is loaded, not when a call is settled."""
    with pytest.raises(PriceError, match="a configured price is unusable"):
        flat_rates(*OWN, Decimal(price), currency="CNY", source="config")
