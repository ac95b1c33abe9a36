"""What a usage costs: integer rates times token counts, rounded once per amount, half to even.

The one place where a cost is derived (DESIGN part 5, rule 2). Rates come from the price book, or flat from the
operator's own ``prices:``.
"""

from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache
from typing import Final, NamedTuple

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
    """For people: price file and model, effective-from, tariff; or the place in the config."""


class Charge(NamedTuple):
    """What an attempt costs, in the currency of its price list and in the book currency."""

    native_nano: int
    currency: str
    book_nano: int
    fx_rate: str
    """Book currency per unit of ``currency``, as a plain decimal string."""


@lru_cache(maxsize=1024)
def charge(usage: Usage, rates: Rates, fx: Decimal) -> Charge:
    """The cost of ``usage``. ``fx`` > 0: book currency per unit of the rates' currency, 1 when they are the same.

    Both amounts are rounded once, each from the exact product: the book amount never from the rounded native one. An
    attempt and its baseline, or two hits of one answer, mostly ask for the same: the latest are remembered.
    """
    miss, hit, write, output, _ = usage
    miss_rate, hit_rate, write_rate, output_rate, currency, _ = rates
    product = miss * miss_rate + hit * hit_rate + write * write_rate + output * output_rate
    native_nano = round_half_even(product, _MTOK)
    if fx == 1:
        return Charge(native_nano, currency, native_nano, "1")
    numerator, denominator, text = _ratio(fx)
    return Charge(native_nano, currency, round_half_even(product * numerator, _MTOK * denominator), text)


def flat_rates(
    miss: Decimal, hit: Decimal, output: Decimal, write: Decimal | None = None, *, currency: str, source: str
) -> Rates:
    """The rates of the operator's own prices per million tokens. ``write`` None = as ``miss``.

    Raises PriceError when one is negative or has more than 9 decimals.
    """
    prices = (miss, hit, miss if write is None else write, output)
    try:
        miss_nano, hit_nano, write_nano, output_nano = map(rate_nano, prices)
    except ValueError as error:
        raise PriceError(f"a configured price is unusable: {error}", detail=f"correct {source}") from None
    return Rates(miss_nano, hit_nano, write_nano, output_nano, currency, source)


def dearest(rates: Iterable[Rates]) -> Rates:
    """Rates that no usage is cheaper under: of each kind the highest, and every prompt token at the highest of all.

    ``rates``: at least one, all in one currency.
    """
    every = tuple(rates)
    prompt = max(max(each.input_miss, each.input_hit, each.cache_write) for each in every)
    output = max(each.output for each in every)
    return Rates(prompt, prompt, prompt, output, every[0].currency, f"the dearest of: {every[0].source}")


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
