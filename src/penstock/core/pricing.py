"""What a usage costs: integer rates times token counts, rounded once per amount, half to even.

The one place where a cost is derived (DESIGN part 5, rule 2). Rates come from the price book, or flat from the
operator's own ``prices:``.
"""

from decimal import Decimal
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

from penstock.core.money import round_half_even, to_nano
from penstock.core.usage import Usage
from penstock.errors import PriceError

_MTOK: Final = 10**6
"""Tokens in the unit that prices are quoted for."""


class Rates(NamedTuple):
    """Nano-units of ``currency`` per million tokens, and where they come from."""

    input_miss: int
    input_hit: int
    cache_write: int
    output: int
    currency: str
    source: str
    """For people: price file and model, effective-from, tariff; ``config`` for the operator's own."""


class Charge(NamedTuple):
    """What an attempt costs, in the currency of its price list and in the book currency."""

    native_nano: int
    currency: str
    book_nano: int
    fx_rate: str
    """Book currency per unit of ``currency``, as a plain decimal string."""


class FlatPrices(Protocol):
    """Prices of the operator's own, per million tokens (``PriceOverride`` in the settings)."""

    @property
    def input(self) -> Decimal:
        """Input that missed the provider's cache."""
        ...

    @property
    def cached_input(self) -> Decimal:
        """Input that hit it."""
        ...

    @property
    def cache_write(self) -> Decimal | None:
        """Input written to it; None = as ``input``."""
        ...

    @property
    def output(self) -> Decimal:
        """Output, reasoning included."""
        ...

    @property
    def currency(self) -> str:
        """What they are quoted in."""
        ...


def charge(usage: Usage, rates: Rates, fx: Decimal) -> Charge:
    """The cost of ``usage``. ``fx`` > 0: book currency per unit of the rates' currency, 1 when they are the same.

    Both amounts are rounded once, each from the exact product: the book amount never from the rounded native one.
    """
    miss, hit, write, output, _ = usage
    miss_rate, hit_rate, write_rate, output_rate, currency, _ = rates
    product = miss * miss_rate + hit * hit_rate + write * write_rate + output * output_rate
    native_nano = round_half_even(product, _MTOK)
    if fx == 1:
        return Charge(native_nano, currency, native_nano, "1")
    numerator, denominator, text = _ratio(fx)
    return Charge(native_nano, currency, round_half_even(product * numerator, _MTOK * denominator), text)


def flat_rates(prices: FlatPrices) -> Rates:
    """The rates of the operator's own prices. Raises PriceError when one has more than 9 decimals or is negative."""
    write = prices.input if prices.cache_write is None else prices.cache_write
    try:
        return Rates(
            input_miss=rate_nano(prices.input),
            input_hit=rate_nano(prices.cached_input),
            cache_write=rate_nano(write),
            output=rate_nano(prices.output),
            currency=prices.currency,
            source="config",
        )
    except ValueError as error:
        raise PriceError(f"a configured price is unusable: {error}") from None


def rate_nano(price_per_mtok: Decimal) -> int:
    """A price per million tokens in nano-units, exactly. Raises ValueError."""
    nano = to_nano(price_per_mtok)
    if nano < 0:
        raise ValueError(f"{price_per_mtok} is below zero")
    return nano


@lru_cache(maxsize=64)
def _ratio(fx: Decimal) -> tuple[int, int, str]:
    """Numerator, denominator and text of an exchange rate: there are as many as currencies."""
    text = f"{fx:f}"
    return *fx.as_integer_ratio(), text.rstrip("0").rstrip(".") if "." in text else text
