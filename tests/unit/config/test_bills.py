"""Exported bills: every known form of them, and what is said of those that cannot be read."""

from datetime import date

import pytest

from penstock.config.bills import Bill, parse_columns, read_bill
from penstock.core.reconcile import BillLine
from penstock.errors import ConfigError

ATTO = 10**18
FIRST, SECOND = date(2026, 8, 1), date(2026, 8, 2)

DEEPSEEK = """user_id,start_time_iso,end_time_iso,model,wallet_type,cost,currency
u1,2026-08-01T00:00:00+08:00,2026-08-02T00:00:00+08:00,deepseek-v4-pro,Paid,1.25,CNY
u1,2026-08-01T00:00:00+08:00,2026-08-02T00:00:00+08:00,deepseek-v4-pro,Granted,0.0000000001,CNY

u1,2026-08-02T00:00:00+08:00,2026-08-03T00:00:00+08:00,deepseek-flash,Paid,"1,000.5",CNY
"""
DEEPSEEK_UTC = "user_id,utc_date,model,wallet_type,cost,currency\nu1,20260801,deepseek-v4-pro,paid,1.25,USD\n"
DEEPSEEK_TOKENS = """user_id,utc_date,model,api_key_name,api_key,type,price,amount
u1,20260801,deepseek-flash,"Team, one",sk-a,input_cache_hit_tokens,0.00000002,1000
u1,20260801,deepseek-flash,"Team, one",sk-a,output_tokens,0.000004,200
u1,20260801,deepseek-flash,"Team, one",sk-a,request_count,,3
"""
ALIBABA = """账单导出
账号：someone@example.com
账单月份,账单日期,产品Code,实例ID,计费项,用量,应付金额（元）,币种
2026-08,2026-08-01,sfm,12345;llm-abc;qwen3-max;output_token;app,推理,1.5,"￥1,234.50\t",CNY
2026-08,2026-08-01,sfm,llm-abc;qwen3-max;input_token;app,推理,1.5,0.5,人民币
2026-08,2026-08-02,sfm,text_token;llm-abc;qwen-plus;input_token;api,推理,1.5,2,CNY
合计,,,,,,1237.00,CNY
"""  # noqa: RUF001 - the file has full-width signs
ALIBABA_ENGLISH = """Billing Month,Billing Date,Instance ID,Billable Item,Pretax Amount,Currency
2026-08,2026-08-01,12345;llm-abc;qwen3-max;output_token;app,x,1.25,USD
"""
ARK = """账期,账单日期,产品,实例名称,配置名称,用量,应付金额,币种
2026-08,2026-08-01,火山方舟,ep-1,doubao-seed-2-1-pro,1000,1.25,CNY
总计,,,,,,1.25,
"""
ARK_API = "ExpenseDate,Product,ConfigName,InstanceName,PayableAmount,Currency\n2026-08-01,ark,doubao,ep-1,1.25,CNY\n"


def read(text: str, columns: str = "", timezone: str | None = None, encoding: str = "utf-8") -> Bill:
    """The bill of a file of this text."""
    return read_bill("bill.csv", text.encode(encoding), parse_columns(columns), timezone)


def mistakes(data: str | bytes, columns: str = "", timezone: str | None = None) -> str:
    """What is said of it."""
    with pytest.raises(ConfigError) as caught:
        read_bill("bill.csv", data if isinstance(data, bytes) else data.encode(), parse_columns(columns), timezone)
    return "\n".join(caught.value.mistakes)


def test_deepseeks_costs_are_read() -> None:
    """Both wallets, exactly, finer than a nano-unit; days in Beijing."""
    bill = read(DEEPSEEK)
    assert (bill.layout.kinds, bill.timezone) == (("deepseek",), "Asia/Shanghai")
    assert bill.lines == {
        "CNY": [
            BillLine(FIRST, "deepseek-v4-pro", 125 * ATTO // 100),
            BillLine(FIRST, "deepseek-v4-pro", 10**8),
            BillLine(SECOND, "deepseek-flash", 10005 * ATTO // 10),
        ]
    }


def test_days_in_utc_are_days_in_utc() -> None:
    """The older export's heading says so; --timezone says otherwise."""
    assert read(DEEPSEEK_UTC).timezone == "UTC"
    assert read(DEEPSEEK_UTC, timezone="Asia/Tokyo").timezone == "Asia/Tokyo"
    assert read(DEEPSEEK_UTC).lines == {"USD": [BillLine(FIRST, "deepseek-v4-pro", 125 * ATTO // 100)]}


def test_deepseeks_tokens_are_priced_and_requests_are_none() -> None:
    """Price of a token times tokens; the file names no currency."""
    assert read(DEEPSEEK_TOKENS).lines == {
        "": [
            BillLine(FIRST, "deepseek-flash", 2 * 10**13, 1000),
            BillLine(FIRST, "deepseek-flash", 8 * 10**14, 200),
        ]
    }


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk", "utf-16"])
def test_alibabas_bill_is_read(encoding: str) -> None:
    """With lines before its headings, a unit in one, tabs behind amounts, full-width signs and a total, in any text."""
    bill = read(ALIBABA.replace("￥", "" if encoding == "gbk" else "￥"), encoding=encoding)
    assert bill.layout.kinds == ("dashscope",)
    assert bill.lines == {
        "CNY": [
            BillLine(FIRST, "qwen3-max", 12345 * ATTO // 10),
            BillLine(FIRST, "qwen3-max", ATTO // 2),
            BillLine(SECOND, "qwen-plus", 2 * ATTO),
        ]
    }


@pytest.mark.parametrize(
    ("text", "kind", "model", "currency"),
    [
        (ALIBABA_ENGLISH, "dashscope", "qwen3-max", "USD"),
        (ARK, "ark", "doubao-seed-2-1-pro", "CNY"),
        (ARK_API, "ark", "doubao", "CNY"),
    ],
)
def test_the_other_known_bills_are_read(text: str, kind: str, model: str, currency: str) -> None:
    """Chosen by their headings, in Chinese and in English."""
    bill = read(text)
    assert (bill.layout.kinds, bill.timezone) == ((kind,), "Asia/Shanghai")
    assert bill.lines == {currency: [BillLine(FIRST, model, 125 * ATTO // 100)]}


def test_columns_go_before_what_is_known() -> None:
    """One role is taken from elsewhere, the rest of the layout stays."""
    bill = read(ARK, "model=实例名称,tokens=用量")
    assert bill.layout.kinds == ("ark",)
    assert bill.lines["CNY"] == [BillLine(FIRST, "ep-1", 125 * ATTO // 100, 1000)]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_any_other_bill_is_read_by_its_columns(delimiter: str) -> None:
    """With any delimiter; a bill without models is compared by day."""
    text = "Tag,Betrag,Posten\r\n2026/08/01,$1.25,gpt\r\n\r\nTotal,1.25,\r\n".replace(",", delimiter)
    assert read(text, "date=tag,amount=Betrag,model=Posten").lines == {
        "USD": [BillLine(FIRST, "gpt", 125 * ATTO // 100)]
    }
    bill = read(text, "date=tag,amount=Betrag")
    assert (bill.timezone, bill.layout.kinds) == ("UTC", ())
    assert bill.lines["USD"] == [BillLine(FIRST, "", 125 * ATTO // 100)]


def test_a_line_with_a_day_is_no_total() -> None:
    """Whatever its first cell says: nothing billed is left out."""
    bill = read("Account,Day,Cost\ntotal wine,2026-08-01,1\nTotal,,1\n", "date=Day,amount=Cost")
    assert bill.lines[""] == [BillLine(FIRST, "", ATTO)]


BAD_LINES = (
    ("2026-13-01,m,1", "bill.csv:2: date: '2026-13-01' is no day of the calendar"),
    ("1.8.26,m,1", "bill.csv:2: date: '1.8.26' is no day; write it as 2026-11-01"),
    ("0001-01-01T00:00:00+14:00,m,1", "is no day that anything here was billed on"),
    ("2026-08,m,1", "bill.csv:2: date: '2026-08' is a month; export the bill by day"),
    ("2026-08-01,m,free", "bill.csv:2: cost: 'free' is no amount"),
    ("2026-08-01,m,", "bill.csv:2: cost: '' is no amount"),
    ("2026-08-01,m,1 XXXX", "bill.csv:2: cost: '1 XXXX' is no currency"),
    ("2026-08-01,m,0.0000000000000000001", "has more than 18 decimals"),
    ("2026-08-01,m,1e30", "is too large"),
    ("2026-08-01,,1", "bill.csv:2: model: '' names no model"),
    ("2026-08-01,m", "bill.csv:2: has 2 cells under 3 headings"),
)


@pytest.mark.parametrize(("line", "said"), BAD_LINES)
def test_a_line_that_cannot_be_read_is_named(line: str, said: str) -> None:
    """With its number, its heading and what to do."""
    assert said in mistakes(f"date,model,cost\n{line}\n", "date=date,model=model,amount=cost")


def test_many_bad_lines_are_counted() -> None:
    """Ten are shown."""
    said = mistakes("date,cost\n" + "x,1\n" * 25, "date=date,amount=cost").splitlines()
    assert (len(said), said[9][:12], said[10]) == (11, "bill.csv:11:", "bill.csv: and 15 more lines")


def test_an_offset_of_another_zone_is_a_mistake() -> None:
    """Days from midnight UTC are not those of Beijing, until somebody says so."""
    text = DEEPSEEK.replace("+08:00", "+00:00")
    assert "has another offset from UTC than Asia/Shanghai; say with --timezone" in mistakes(text)
    assert read(text, timezone="UTC").timezone == "UTC"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it has: nothing"),
        (b"PK\x03\x04rest", "is a ZIP file or a spreadsheet; give the CSV file"),
        (b"%PDF-1.7", "is a PDF"),
        (b"\xff\xfe\x00", "is no text"),
        (b"a\0b,c\n", "is no text"),
        (b'date,cost\n"' + b"x" * 200_000, "is no CSV"),
        (b"one,two\n1,2\n", "has the headings of no bill that is known (DeepSeek's cost file"),
        (b"user_id,utc_date,model,wallet_type,cost,currency\n", "has no line below its headings"),
    ],
)
def test_a_file_that_is_no_bill_is_said_to_be_none(data: bytes, said: str) -> None:
    """And what it has instead."""
    assert said in mistakes(data)


def test_a_column_that_is_not_there_is_named_beside_those_that_are() -> None:
    """So that the next try succeeds."""
    assert "has no column 'Day'; it has: utc_date, model, cost" in mistakes(
        "utc_date,model,cost\n2026-08-01,m,1\n", "date=Day"
    )


@pytest.mark.parametrize("text", ["date", "date=", "day=x", "date=a,date=b"])
def test_columns_that_are_none_are_refused(text: str) -> None:
    """The roles are named."""
    with pytest.raises(ValueError, match="write ROLE=HEADING, once per role of: date, model, amount"):
        parse_columns(text)
