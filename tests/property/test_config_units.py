"""Durations, sizes, addresses and amounts survive being written and read."""

import contextlib
from collections.abc import Callable
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st

from penstock.config.settings import Address
from penstock.config.units import (
    format_duration,
    format_size,
    parse_address,
    parse_amount,
    parse_duration,
    parse_size,
    parse_whole,
)


@given(st.integers(0, 3650 * 86_400_000))
def test_durations_round_trip(milliseconds: int) -> None:
    """To the millisecond."""
    assert parse_duration(format_duration(milliseconds / 1000)) == milliseconds / 1000


@given(st.integers(0, 2**50))
def test_sizes_round_trip(size: int) -> None:
    """To the byte."""
    assert parse_size(format_size(size)) == size


@given(st.ip_addresses(), st.integers(0, 65_535))
def test_addresses_round_trip(host: IPv4Address | IPv6Address, port: int) -> None:
    """Both families."""
    address = Address(str(host), port)
    assert parse_address(str(address)) == address


@given(st.decimals(0, 10**14, places=9, allow_nan=False, allow_infinity=False))
def test_amounts_are_exact(amount: Decimal) -> None:
    """Every digit counts."""
    assert parse_amount(f"{amount:f}") == amount


@given(st.sampled_from((parse_duration, parse_size, parse_address, parse_amount, parse_whole)), st.text())
def test_any_text_is_read_or_refused(parse: Callable[[str], object], text: str) -> None:
    """With ValueError and nothing else."""
    with contextlib.suppress(ValueError):
        parse(text)
