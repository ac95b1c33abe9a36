"""The demo's table, against figures worked out by hand."""

from decimal import Decimal

import pytest

from penstock.cli.demo_report import Leg, Line, by_lever, comparison, month, quantile

BEFORE = Leg(
    requests=10, errors=1, hits=0, cost_nano=20_000_000, latencies_s=[1.0, 2.0, 3.0, 2.0, 2.0, 1.0, 3.0, 2.0, 2.0]
)
AFTER = Leg(requests=10, errors=0, hits=4, cost_nano=12_660_000, latencies_s=[0.002] * 4 + [2.0] * 6)
NOTHING = Leg(requests=0, errors=0, hits=0, cost_nano=0, latencies_s=[])


def test_every_row_is_right() -> None:
    """Each row shows both ways and their change."""
    assert [line._replace(gain=0.0) for line in comparison(BEFORE, AFTER)] == [
        Line("Cost", "0.0200 CNY", "0.0127 CNY", "-36.7 %"),
        Line("Saved", "-", "0.0073 CNY", "36.7 % of the bill"),
        Line("Mean time to answer", "2.00 s", "1.20 s", "-40.0 %"),
        Line("P95 time to answer", "3.00 s", "2.00 s", "-33.3 %"),
        Line("Cache hit rate", "0.0 %", "40.0 %", "+40.0 points"),
        Line("Error rate", "10.0 %", "0.0 %", "-10.0 points"),
    ]


def test_the_month_is_scaled_by_what_was_measured() -> None:
    """A bill of 12,800 shrinks in the measured proportion, to the yuan."""
    found = month(BEFORE, AFTER)
    assert (found.before, found.after, found.saved) == (Decimal(12800), Decimal(8102), Decimal(4698))
    assert found.requests == 6_400_000


def test_a_dearer_way_is_shown_as_dearer() -> None:
    """Nothing is claimed that was not saved."""
    assert month(AFTER, BEFORE).saved < 0
    assert comparison(AFTER, BEFORE)[0].change == "+58.0 %"


def test_no_traffic_is_no_saving() -> None:
    """Without figures there is no claim and no division by zero."""
    assert month(NOTHING, NOTHING).saved == 0
    assert [line.change for line in comparison(NOTHING, NOTHING)[:4]] == ["-", "- of the bill", "-", "-"]


@pytest.mark.parametrize(
    ("values", "per_hundred", "expected"),
    [
        ([], 95, 0.0),
        ([3.0], 95, 3.0),
        ([3.0], 0, 3.0),
        (range(1, 101), 95, 95),
        (range(1, 101), 100, 100),
        ([2, 1], 50, 1),
    ],
)
def test_a_quantile_is_a_value_that_was_seen(values: list[float], per_hundred: int, expected: float) -> None:
    """The smallest value that is not exceeded by so many of a hundred."""
    assert quantile(values, per_hundred) == expected


def test_levers_are_named_largest_first() -> None:
    """What the ledger books, without the levers that saved nothing."""
    assert by_lever({"joined": 10**6, "exact": 2 * 10**9, "direct": 0}) == "exact 2.0000 CNY, joined 0.0010 CNY"
