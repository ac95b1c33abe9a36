"""Listings: for people, for pipes, for programs."""

import csv
import io
from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec
import pytest
from click import unstyle

from penstock.cli.output import emit

ROWS: Sequence[Mapping[str, object]] = [
    {"model": "flash", "cost": Decimal("0.000000001"), "requests": 3, "saved": "-1.50", "note": None},
    {"model": "模型", "cost": Decimal("12.5"), "requests": 1200, "saved": "0.25", "note": "ok"},
]
TOTAL = {"cost": Decimal("12.500000001"), "requests": 1203}


def printed(capsys: pytest.CaptureFixture[str], format_: str, rows: Sequence[Mapping[str, object]] = ROWS) -> str:
    """What ``emit`` printed."""
    emit(rows, TOTAL, format_, title="Costs")
    return capsys.readouterr().out


def test_json_is_rows_and_total_with_exact_amounts(capsys: pytest.CaptureFixture[str]) -> None:
    """Decimals are strings of plain digits, numbers stay numbers, nothing stays null."""
    document = msgspec.json.decode(printed(capsys, "json"))
    first = {"model": "flash", "cost": "0.000000001", "requests": 3, "saved": "-1.50", "note": None}
    assert document["rows"][0] == first
    assert document["total"] == {"cost": "12.500000001", "requests": 1203}


def test_json_of_nothing_keeps_its_shape(capsys: pytest.CaptureFixture[str]) -> None:
    """No rows and no total are an empty list and an empty object."""
    emit([], None, "json")
    assert msgspec.json.decode(capsys.readouterr().out) == {"rows": [], "total": {}}


def test_csv_is_a_head_and_a_line_per_row(capsys: pytest.CaptureFixture[str]) -> None:
    """No title, no total: every line below the head is a row."""
    lines = list(csv.reader(io.StringIO(printed(capsys, "csv"))))
    assert lines == [
        ["model", "cost", "requests", "saved", "note"],
        ["flash", "0.000000001", "3", "-1.50", ""],
        ["模型", "12.5", "1200", "0.25", "ok"],
    ]


@pytest.mark.parametrize("name", ["=1+1", "+1+1", "-cmd", "@SUM(A1)", "\t=1"])
def test_csv_hands_no_formula_to_a_spreadsheet(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """A user may call itself anything; a cell that starts like a formula is quoted into text, a number is not."""
    lines = list(csv.reader(io.StringIO(printed(capsys, "csv", [{"user": name, "saved": "-1.5"}]))))
    assert not lines[1][0].startswith(("=", "+", "-", "@", "\t"))
    assert lines[1][1] == "-1.5"


def test_a_piped_table_is_aligned_text(capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers to the right, names to the left by the columns they take, the total last and named."""
    rows = [{"model": "flash", "requests": 3}, {"model": "模型", "requests": 1200}]
    emit(rows, {"requests": 1203}, "table", title="Costs")
    assert capsys.readouterr().out.splitlines() == [
        "Costs",
        "model  requests",
        "flash         3",
        "模型       1200",
        "total      1203",
    ]


def test_a_table_on_a_terminal_has_the_same_cells(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames and colours aside, people read what programs read."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    text = printed(capsys, "table")
    for cell in ("Costs", "flash", "0.000000001", "模型", "12.500000001", "total"):
        assert cell in text


def test_a_name_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Escape sequences and line breaks in what clients sent are not printed."""
    text = printed(capsys, "table", [{"user": "a\x1b[2Jb\nc"}])
    assert "a?[2Jb?c" in text


def test_an_empty_table_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """Silence would look like a failure."""
    assert printed(capsys, "table", []) == "Nothing to show.\n"


SPEND: Sequence[Mapping[str, object]] = [
    {
        "model": model, "requests": 1_234_567, "tokens": 9_876_543_210, "cost": "12345.678901",
        "cost_per_request": "0.010000", "baseline": "23456.789012", "saved": "11111.110111", "wasted": "12.345678",
        "currency": "CNY", "unpriced": 0, "errors": 4321, "note": "",
    }
    for model in ("deepseek-flash", "qwen3-235b-a22b-instruct-2507-of-some-long-name")
]  # fmt: skip
MINOR = ("cost_per_request", "currency", "wasted", "errors", "unpriced", "tokens", "baseline")


def on_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int, total: Mapping[str, object] | None
) -> list[str]:
    """The lines of ``SPEND`` on a terminal that is ``width`` columns wide."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    emit(SPEND, total, "table", minor=MINOR)
    return [line.rstrip() for line in unstyle(capsys.readouterr().out).splitlines()]


@pytest.mark.parametrize("width", [200, 120, 100, 80, 60])
def test_no_number_is_cut_or_wrapped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    """Whatever is shown of a row stands whole, in a line no wider than the terminal; what is not shown is named."""
    lines = on_terminal(capsys, monkeypatch, width, {"requests": 2_469_134, "errors": 8642})
    assert all(len(line) <= width for line in lines)
    text = "\n".join(lines)
    for name, value in SPEND[0].items():
        cell = f"{value:,}" if isinstance(value, int) else str(value)
        assert name not in lines[0].split() or cell in text
    assert "2,469,134" in text
    assert ("Not shown" in text) == (width < 150)
    if width == 80:
        assert {"model", "requests", "cost", "saved"} < set(lines[0].split())
        assert "currency CNY," in " ".join(text.split())
        assert "errors 8,642," in " ".join(text.split())


def test_a_terminal_too_narrow_for_any_table_gets_paragraphs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line per field, a blank line between rows."""
    lines = on_terminal(capsys, monkeypatch, 30, None)
    assert "cost              12345.678901" in lines
    assert "requests          1,234,567" in lines
    assert lines.count("") == 2
