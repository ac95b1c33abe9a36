"""Quantities as the file spells them."""

from collections.abc import Callable
from decimal import Decimal

import pytest

from penstock.config.settings import Address
from penstock.config.units import (
    format_duration,
    format_size,
    is_loopback,
    parse_address,
    parse_amount,
    parse_duration,
    parse_size,
    parse_whole,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("15ms", 0.015), ("30s", 30), ("5m", 300), ("1h", 3600), ("1d", 86_400), ("1.5s", 1.5), ("2 m", 120), ("0s", 0)],
)
def test_a_duration_is_a_number_with_a_unit(text: str, seconds: float) -> None:
    """Every unit counts seconds."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("8MiB", 8 * 2**20), ("256MiB", 2**28), ("10MB", 10**7), ("1KB", 1000), ("1kB", 1000), ("0.5KiB", 512), ("7B", 7)],
)
def test_a_size_is_a_number_with_a_unit(text: str, size: int) -> None:
    """MB is decimal and MiB binary."""
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8787", Address("127.0.0.1", 8787)),
        ("[::1]:8787", Address("::1", 8787)),
        ("[0:0::1]:1", Address("::1", 1)),
        ("localhost:0", Address("localhost", 0)),
        ("gate-1.example.com:65535", Address("gate-1.example.com", 65535)),
    ],
)
def test_an_address_is_a_host_with_a_port(text: str, address: Address) -> None:
    """IPv6 stands in brackets, and addresses print as they are written."""
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(("text", "amount"), [("0.02", "0.02"), ("7.10", "7.10"), ("3", "3"), ("0.1", "0.1")])
def test_an_amount_is_exact(text: str, amount: str) -> None:
    """What is written is what is meant, to the last digit."""
    assert parse_amount(text) == Decimal(amount)
    assert str(parse_amount(text)) == amount


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        *(
            (parse_duration, text)
            for text in ("", "30", "s", "-1s", "1e3s", "3651d", "1 fortnight", "\uff11s", "1s\n", "inf")
        ),
        *((parse_size, text) for text in ("", "8", "MiB", "-8MiB", "0.3B", "2000TiB", "8mib", "9" * 30 + "B")),
        *(
            (parse_address, text)
            for text in (
                "",
                "8787",
                ":8787",
                "::1:8787",
                "[::1]",
                "[::g]:1",
                "h:65536",
                "h:-1",
                "-h:1",
                "a b:1",
                "h:\uff18",
            )
        ),
        *((parse_whole, text) for text in ("", "1.0", "1_000", "0x10", "007", "1e3", "9" * 19, "٣")),
        *((parse_amount, text) for text in ("", "1e3", ".5", "5.", "NaN", "Infinity", "1,5", "1_0", "٣", "9" * 16)),
    ],
)
def test_anything_else_is_refused_with_a_cure(parse: Callable[[str], object], text: str) -> None:
    """The sentence says what is wrong, then what to do."""
    with pytest.raises(ValueError, match=r"^(is|has|lacks|names) .+; .+"):
        parse(text)


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (0.015, "15ms"), (90, "90s"), (3600, "1h"), (172_800, "2d")])
def test_a_duration_prints_in_its_largest_whole_unit(seconds: float, text: str) -> None:
    """No fraction is ever needed."""
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0B"), (7, "7B"), (1000, "1000B"), (2**20, "1MiB"), (3 * 2**30, "3GiB")]
)
def test_a_size_prints_in_its_largest_whole_unit(size: int, text: str) -> None:
    """Binary units, because bytes are."""
    assert format_size(size) == text


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_is_what_only_this_machine_reaches(host: str) -> None:
    """All of 127/8, and its name."""
    assert is_loopback(Address(host, 80))


ELSEWHERE = ["10.0.0.1", "128.0.0.1", "gate.example.com", "localhost.example.com", "0.0.0.0", "::"]  # noqa: S104 - nothing is bound


@pytest.mark.parametrize("host", ELSEWHERE)
def test_whatever_else_is_not_loopback(host: str) -> None:
    """The wildcard, and a name that merely looks local."""
    assert not is_loopback(Address(host, 80))
