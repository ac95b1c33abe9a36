"""Reconciling: sums are those of a plain loop in any zone, and a bill of the ledger's own rows has no drift."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.config.bill_cells import ATTO_DIGITS, parse_day, parse_money
from penstock.config.bills import read_bill
from penstock.core.money import DECIMALS, NANO, format_amount
from penstock.core.reconcile import (
    ATTO_PER_NANO,
    QUARTER_S,
    Balance,
    BalanceChange,
    BillLine,
    Charged,
    Charges,
    Drift,
    converted,
    drifts,
    percent,
    sum_in,
    total_of,
)
from tests.property.test_windows import ZONES

MODELS = ("flash", "pro", "max")
FIRST = datetime(2026, 3, 20, tzinfo=UTC).timestamp() // QUARTER_S
nanos = st.integers(0, 10**15)
charges = st.builds(
    Charges,
    quarter=st.integers(int(FIRST), int(FIRST) + 96 * 20),
    deployment=st.sampled_from([f"deepseek/{model}" for model in MODELS]),
    currency=st.just("CNY"),
    calls=st.integers(1, 100),
    tokens=st.integers(0, 10**9),
    nano=nanos,
    book_nano=nanos,
    estimated_nano=nanos,
    estimated_book_nano=nanos,
    unpriced=st.integers(0, 3),
)
lines = st.builds(
    BillLine,
    day=st.dates(date(2026, 3, 18), date(2026, 4, 12)),
    model=st.sampled_from(MODELS),
    atto=st.integers(-(10**24), 10**27),
    tokens=st.none() | st.integers(0, 10**9),
)


def own(each: Charges) -> Charged:
    """In its own currency."""
    return Charged(each.nano, each.estimated_nano)


def compared(billed: Sequence[BillLine], ledger: Sequence[Charges], zone: str) -> list[Drift]:
    """The rows."""
    return drifts(billed, ledger, zone=ZoneInfo(zone), name_of=lambda name, _day: name, amount_of=own)


@pytest.mark.parametrize("zone", ZONES)
def test_sums_are_those_of_a_plain_loop(zone: str) -> None:
    """Per day and model, on both sides; rows are in order, none twice, none empty; the total is the sum of rows."""

    @settings(max_examples=40)
    @given(st.lists(lines, max_size=8), st.lists(charges, max_size=8))
    def check(billed: list[BillLine], ledger: list[Charges]) -> None:
        rows = compared(billed, ledger, zone)
        keys = [(str(row.day), row.model) for row in rows]
        assert keys == sorted(set(keys))
        for row in rows:
            theirs = [line for line in billed if (line.day, line.model) == (row.day, row.model)]
            ours = [
                each
                for each in ledger
                if datetime.fromtimestamp(each.quarter * QUARTER_S, ZoneInfo(zone)).date() == row.day
                and each.deployment == f"deepseek/{row.model}"
            ]
            assert theirs or ours
            assert row.billed_nano == round(Fraction(sum(line.atto for line in theirs), ATTO_PER_NANO))
            assert row.ledger_nano == sum(each.nano for each in ours)
            assert row.estimated_nano == sum(each.estimated_nano for each in ours)
            assert (row.calls, row.unpriced) == (sum(e.calls for e in ours), sum(e.unpriced for e in ours))
            assert row.drift_nano == row.billed_nano - row.ledger_nano
        total = total_of(rows)
        assert total.ledger_nano == sum(each.nano for each in ledger)
        assert total.billed_nano == sum(row.billed_nano for row in rows)
        assert (total.billed_tokens or 0) == sum(line.tokens or 0 for line in billed)

    check()


@pytest.mark.parametrize("zone", ZONES)
def test_a_bill_of_the_ledgers_own_rows_has_no_drift(zone: str) -> None:
    """Written as a CSV, day by day in the zone, read again, compared: nothing is left, to the nano-unit."""

    @settings(max_examples=40)
    @given(st.lists(charges, min_size=1, max_size=8))
    def check(ledger: list[Charges]) -> None:
        text = "Day,Model,Cost,Tokens\n" + "".join(
            f"{datetime.fromtimestamp(each.quarter * QUARTER_S, ZoneInfo(zone)).date()},"
            f'{each.deployment.partition("/")[2]},"{int(Decimal(each.nano) // NANO):,}.{each.nano % NANO:09}",'
            f"{each.tokens}\n"
            for each in ledger
        )
        columns = {"date": "Day", "model": "Model", "amount": "Cost", "tokens": "Tokens"}
        bill = read_bill("own.csv", text.encode(), columns, zone)
        rows = compared(bill.lines[""], ledger, zone)
        assert bill.timezone == zone
        assert all(row.drift_nano == 0 and row.billed_tokens == row.tokens for row in rows)
        assert total_of(rows).ledger_nano == sum(each.nano for each in ledger)

    check()


SIGNS = st.sampled_from([("", "", ""), ("¥", "", "CNY"), ("￥ ", "", "CNY"), ("US$", "", "USD"), ("", " CNY", "CNY")])


@given(st.integers(0, 10**33), SIGNS, st.sampled_from(["", "-", "+"]), st.booleans())
def test_amounts_are_read_as_written(
    atto: int,
    sign: tuple[str, str, str],
    minus: str,
    grouped: bool,  # noqa: FBT001 - drawn
) -> None:
    """With any sign, in groups of three digits or not: exactly, to the last of eighteen decimals."""
    before, after, currency = sign
    whole, part = divmod(atto, 10**ATTO_DIGITS)
    text = f"{whole:,}" if grouped else f"{whole}"
    read = parse_money(f"{minus}{before}{text}.{part:018}{after}".replace("￥", "¥"))
    assert read == (-atto if minus == "-" else atto, currency)


DAY_FORMS = ("%Y-%m-%d", "%Y%m%d", "%Y/%m/%d", "%Y年%m月%d日", "%Y-%m-%d 08:00:00", "%Y-%m-%dT08:00:00")


@given(st.dates(date(2000, 1, 1), date(2199, 12, 31)), st.sampled_from(DAY_FORMS))
def test_days_are_read_as_written(day: date, form: str) -> None:
    """In each of the spellings of exports."""
    assert parse_day(day.strftime(form)) == (day, None)


@given(st.integers(-(10**20), 10**20), st.integers(-(10**20), 10**20))
def test_percent_is_the_nearest_hundredth(part: int, whole: int) -> None:
    """Half to even, and nothing of nothing."""
    found = percent(part, whole)
    assert (found is None) == (whole == 0)
    if found is not None:
        assert found == Decimal(round(Fraction(part * 10_000, whole))) / 100


@given(nanos, nanos, nanos, st.decimals("0.01", "100", places=4))
def test_the_bills_currency_is_reached_exactly(nano: int, book: int, estimated: int, rate: Decimal) -> None:
    """As charged where it is in it, the book amount where it is the book's, else by the rate, rounded once."""
    each = Charges(0, "p/m", "CNY", 1, 1, nano, book, estimated, estimated, 0)
    assert converted(each, "CNY", "EUR", {}) == (nano, estimated)
    assert converted(each, "EUR", "EUR", {}) == (book, estimated)
    usd = converted(each, "USD", "EUR", {"USD": rate})
    assert usd == (round(Fraction(book) / Fraction(rate)), round(Fraction(estimated) / Fraction(rate)))
    with pytest.raises(ValueError, match="fx"):
        converted(each, "USD", "EUR", {})


amounts = st.integers(0, 10**15)


@given(amounts, amounts, amounts, amounts, st.booleans())
def test_the_drift_of_a_balance_is_what_the_ledger_missed(
    begin: int,
    paid_in: int,
    charged: int,
    missed: int,
    told: bool,  # noqa: FBT001 - drawn
) -> None:
    """Known exactly where what was paid in is told, or nothing was; never invented where the balance only rose."""
    before = Balance("p", "CNY", 0.0, begin, 0, begin)
    end = begin + paid_in - charged - missed
    change = BalanceChange(
        before, Balance("p", "CNY", 9.0, end, 0, end), Charged(charged, 0), paid_in if told else None
    )
    if told:
        assert (change.drift_nano, change.topped_up_nano) == (missed, paid_in)
    elif end > begin:
        assert change.drift_nano is None
        assert change.topped_up_nano == end - begin + charged
    else:
        assert (change.drift_nano, change.topped_up_nano) == (missed - paid_in, 0)


@given(amounts, amounts, st.lists(amounts, min_size=1, max_size=6), st.integers(-(10**15), 10**15))
def test_the_ratio_of_a_drift_is_what_was_missed_per_charged(
    granted: int, topped_up: int, charged: list[int], missed: int
) -> None:
    """Either way; per unit where less than one was charged. What was charged in any pieces has none."""
    before = Balance("p", "CNY", 0.0, granted + topped_up, granted, topped_up)
    ledger = [Charges(0, "p/m", "CNY", 1, 1, nano, nano, 0, 0, 0) for nano in charged]
    total = sum_in(ledger, "CNY", "CNY", {})
    assert total == Charged(sum(charged), 0)
    fell = total.nano + missed
    now = before._replace(at=9.0, total_nano=before.total_nano - fell, topped_up_nano=topped_up - fell)
    ratio = BalanceChange(before, now, total).drift_ratio
    if fell < 0:
        assert ratio is None
    else:
        assert ratio == abs(missed) / max(sum(charged), NANO)


@given(amounts, amounts)
def test_a_rise_is_seen_by_whatever_rose(begin: int, more: int) -> None:
    """The balance as a whole, too: some providers do not say what it is made of."""
    before = Balance("p", "CNY", 0.0, begin, 0, 0)
    assert BalanceChange(before, before._replace(total_nano=begin + more), Charged(0, 0)).rose == (more > 0)


def test_a_day_of_a_clock_change_keeps_its_calls() -> None:
    """The 25 hours of 2026-11-01 in New York are one row; the quarter after them is the next day's."""
    zone = ZoneInfo("America/New_York")
    begin = datetime(2026, 11, 1, tzinfo=zone).timestamp() / QUARTER_S
    ledger = [Charges(int(begin) + n, "p/m", "CNY", 1, 1, 1, 1, 0, 0, 0) for n in range(-1, 101)]
    rows = compared([], ledger, zone.key)
    assert [(str(row.day), row.ledger_nano) for row in rows] == [
        ("2026-10-31", 1),
        ("2026-11-01", 100),
        ("2026-11-02", 1),
    ]
    assert rows[1].drift_percent is None
    assert format_amount(rows[1].drift_nano, DECIMALS) == "-0.000000100"
    assert rows[0].day is not None
    assert rows[1].day == rows[0].day + timedelta(days=1)
