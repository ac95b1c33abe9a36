"""Exported bills: any bytes are a bill, or a mistake that says where."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.config.bills import parse_columns, read_bill
from penstock.errors import ConfigError

HEADS = (
    "start_time_iso,model,cost,currency",
    "utc_date,model,type,price,amount",
    "账单日期,实例ID,应付金额,币种",
    "账单日期,配置名称,应付金额,币种",
)
WORDS = st.sampled_from(
    [
        "2026-11-01", "20261101", "2026-11-01T00:00:00+08:00", "9999-12-31T23:59:59-12:00", "2026-11", "flash", "合计",
        "¥1,234.5", "1e18", "1e-99", "-0", "1e99", "NaN", "Infinity", "12", "", "CNY", "a;b;c;d", "llm-;x", '"', "\t",
    ]
)  # fmt: skip
CELLS = WORDS | st.text(max_size=12)
COLUMNS = ("", "date=账单日期,amount=应付金额", "model=type", "tokens=amount,date=utc_date,price=price")


def is_read(data: bytes, columns: str) -> bool:
    """Whether it is a bill; a mistake names the file. Anything else that is raised fails the test."""
    mistakes: list[str] | None = None
    try:
        bill = read_bill("bill.csv", data, parse_columns(columns))
        assert all(bill.lines.values())
    except ConfigError as error:
        mistakes = error.mistakes
    assert mistakes is None or mistakes
    assert all(mistake.startswith("bill.csv") for mistake in mistakes or ())
    return mistakes is None


@given(st.binary(max_size=300), st.sampled_from(COLUMNS))
def test_any_bytes_are_a_bill_or_a_mistake(data: bytes, columns: str) -> None:
    """Whole, and cut anywhere by their own ends."""
    is_read(data, columns)
    is_read(b"\xff\xfe" + data, columns)
    is_read(HEADS[0].encode() + b"\n" + data, columns)


@pytest.mark.parametrize("head", HEADS)
def test_any_cells_under_known_headings_are_lines_or_mistakes(head: str) -> None:
    """In any number, in UTF-8 or GBK."""

    @given(
        st.lists(st.lists(CELLS, max_size=6), max_size=4),
        st.sampled_from(COLUMNS),
        st.sampled_from(["utf-8", "gb18030"]),
    )
    def check(rows: list[list[str]], columns: str, encoding: str) -> None:
        text = "\n".join([head, *(",".join(row) for row in rows)])
        is_read(text.encode(encoding, errors="replace"), columns)

    check()


@given(st.text(max_size=60))
def test_any_columns_are_roles_or_a_mistake(text: str) -> None:
    """Nothing but ValueError."""
    try:
        found = parse_columns(text)
    except ValueError:
        return
    assert all(found.values())
