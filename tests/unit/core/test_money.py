"""Amounts are integers of nano-units, read and written exactly."""

from decimal import Decimal

import pytest

from penstock.core.money import Amount, format_amount, parse_amount, round_half_even, to_nano


@pytest.mark.parametrize(
    ("nano", "digits", "text"),
    [
        (0, 6, "0.000000"),
        (123_000, 6, "0.000123"),
        (1_500, 6, "0.000002"),
        (2_500, 6, "0.000002"),
        (-1_500, 6, "-0.000002"),
        (-1, 6, "0.000000"),
        (12_800_000_000_000, 2, "12800.00"),
        (1_999_999_999, 0, "2"),
        (1, 9, "0.000000001"),
    ],
)
def test_an_amount_is_written_with_the_decimals_asked_for(nano: int, digits: int, text: str) -> None:
    """Rounding is half to even, and a zero has no sign."""
    assert format_amount(nano, digits) == text


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("3000 CNY", Amount(3_000_000_000_000, "CNY")),
        (" 0.1 USD ", Amount(100_000_000, "USD")),
        ("-0.000000001 EUR", Amount(-1, "EUR")),
    ],
)
def test_an_amount_is_read_exactly(text: str, amount: Amount) -> None:
    """What people write becomes nano-units without a float between."""
    assert parse_amount(text) == amount


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("3000", "write a number and a currency"),
        ("3000 yuan", "write a number and a currency"),
        ("many CNY", "is not a number"),
        ("NaN CNY", "is not an amount"),
        ("Infinity CNY", "is not an amount"),
        ("0.0000000001 CNY", "more than 9 decimals"),
        ("1.0000000001 CNY", "more than 9 decimals"),
        ("1e-999999 CNY", "more than 9 decimals"),
        ("1e999999 CNY", "too large"),
    ],
)
def test_what_is_no_amount_is_refused_by_name(text: str, what: str) -> None:
    """Every refusal says why, and a huge exponent costs nothing to refuse."""
    with pytest.raises(ValueError, match=what):
        parse_amount(text)


@pytest.mark.parametrize(
    ("value", "nano"), [("0", 0), ("-0", 0), ("0e99", 0), ("1e-9", 1), ("1.50000000000", 1_500_000_000)]
)
def test_a_decimal_becomes_nano_units_by_its_value(value: str, nano: int) -> None:
    """Trailing zeros and exponents are only notation."""
    assert to_nano(Decimal(value)) == nano


@pytest.mark.parametrize(
    ("numerator", "denominator", "nearest"), [(5, 2, 2), (7, 2, 4), (-5, 2, -2), (8, 3, 3), (7, 3, 2), (6, 3, 2)]
)
def test_a_tie_goes_to_the_even_neighbour(numerator: int, denominator: int, nearest: int) -> None:
    """Halves round to even, everything else to the nearest."""
    assert round_half_even(numerator, denominator) == nearest
