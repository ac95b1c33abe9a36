"""The arithmetic of a charge, for any usage, rates and exchange rate."""

from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.money import NANO, format_amount, parse_amount, to_nano
from penstock.core.pricing import Rates, charge
from penstock.core.usage import Usage

ONE = Decimal(1)

tokens = st.integers(0, 10**7)
nanos = st.integers(0, 10**12)
usages = st.builds(Usage, tokens, tokens, tokens, tokens, st.just(0))
rate_cards = st.builds(Rates, nanos, nanos, nanos, nanos, st.just("USD"), st.just("test"))
exchange_rates = st.decimals(Decimal("0.0001"), 1000, places=4)


def exact(usage: Usage, rates: Rates) -> Fraction:
    """The unrounded price in nano-units."""
    counts = (usage.input_miss, usage.input_hit, usage.cache_write, usage.output)
    return sum((Fraction(count * rate, 10**6) for count, rate in zip(counts, rates[:4], strict=True)), Fraction())


@given(usages, rate_cards, exchange_rates)
def test_a_charge_is_the_exact_product_rounded_once(usage: Usage, rates: Rates, fx: Decimal) -> None:
    """Both amounts equal the fraction's own rounding, half to even."""
    charged = charge(usage, rates, fx)
    assert charged.native_nano == round(exact(usage, rates))
    assert charged.book_nano == round(exact(usage, rates) * Fraction(fx))
    assert Decimal(charged.fx_rate) == fx


@given(usages, usages, rate_cards, exchange_rates)
def test_charges_add_up_to_rounding(one: Usage, other: Usage, rates: Rates, fx: Decimal) -> None:
    """Two calls cost what one call with both their tokens costs, but for a nano-unit."""
    both = Usage(*(a + b for a, b in zip(one, other, strict=True)))
    parts, whole = [charge(usage, rates, fx) for usage in (one, other)], charge(both, rates, fx)
    assert abs(whole.native_nano - sum(part.native_nano for part in parts)) <= 1
    assert abs(whole.book_nano - sum(part.book_nano for part in parts)) <= 1


@given(usages, st.sampled_from(["input_miss", "input_hit", "cache_write", "output"]), tokens, rate_cards)
def test_more_tokens_never_cost_less(usage: Usage, bucket: str, more: int, rates: Rates) -> None:
    """Monotone in every bucket, and never negative."""
    larger = usage._replace(**{bucket: getattr(usage, bucket) + more})
    assert charge(larger, rates, ONE).native_nano >= charge(usage, rates, ONE).native_nano >= 0


@given(st.integers(-(10**30), 10**30))
def test_an_amount_survives_being_written(nano: int) -> None:
    """With nine decimals nothing is lost."""
    text = format_amount(nano, 9)
    assert Fraction(text) == Fraction(nano, NANO)
    if abs(nano) < 10**27:
        assert parse_amount(f"{text} CNY").nano == nano


@given(st.decimals(0, 10**9, places=9))
def test_a_price_becomes_exact_nano_units(price: Decimal) -> None:
    """Up to nine decimals there is no rounding."""
    assert Fraction(to_nano(price), NANO) == Fraction(price)
