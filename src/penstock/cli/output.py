"""How commands print: a table for people, aligned text for a pipe, JSON and CSV for programs."""

import csv
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeVar

import click
import msgspec
from rich.cells import cell_len
from rich.console import Console

from penstock.cli.fitted import Column, print_fitted
from penstock.cli.options import inherit

Row = Mapping[str, object]

_Command = TypeVar("_Command", bound=Callable[..., Any])

NONE = "(none)"
"""How a table shows whose requests have none: no user named, no team, no call made."""

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def emit(
    rows: Sequence[Row],
    total: Row | None,
    format: str,  # noqa: A002 - the option's own name
    *,
    title: str = "",
    minor: Sequence[str] = (),
) -> None:
    """Print ``rows`` and their ``total`` to standard output as ``table``, ``json`` or ``csv``.

    Every row has the keys of the first, in its order. Amounts are Decimals or decimal strings: they never pass
    through a float. CSV leaves the total and the title out, so that every line below the head is one row. A terminal
    too narrow for the table goes without the columns in ``minor``, the first of them first.
    """
    if format == "table" and rows and sys.stdout.isatty():
        print_fitted(Console(), _columns(rows, total), title, minor)
    else:
        _WRITERS[format](rows, total, title)


def format_option(command: _Command) -> _Command:
    """The option ``--format`` of every command that lists."""
    choice = click.Choice(list(_WRITERS))
    return click.option(
        "--format", "format_", type=choice, default="table", show_default=True, help="How to print.", callback=inherit
    )(command)


def _write_table(rows: Sequence[Row], total: Row | None, title: str) -> None:
    click.echo(_plain_table(rows, total, title) if rows else "Nothing to show.")


def _write_json(rows: Sequence[Row], total: Row | None, _title: str) -> None:
    document = {"rows": [_json_row(row) for row in rows], "total": _json_row(total or {})}
    encoded = msgspec.json.encode(document)
    click.echo(msgspec.json.format(encoded, indent=2).decode())


def _write_csv(rows: Sequence[Row], _total: Row | None, _title: str) -> None:
    if not rows:
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows[0])
    writer.writerows([_csv_cell(value) for value in row.values()] for row in rows)
    click.echo(text.getvalue(), nl=False)


_WRITERS: dict[str, Callable[[Sequence[Row], Row | None, str], None]] = {
    "table": _write_table,
    "json": _write_json,
    "csv": _write_csv,
}


def _json_row(row: Row) -> Row:
    """Decimals as plain digits: ``0.000000001``, never ``1E-9``."""
    return {name: f"{value:f}" if isinstance(value, Decimal) else value for name, value in row.items()}


def _columns(rows: Sequence[Row], total: Row | None) -> list[Column]:
    """For eyes: whole numbers in groups of three digits."""
    return [
        Column(
            name,
            [_grouped(row.get(name)) for row in rows],
            _grouped(_total_of(total, rows[0], name)) if total else "",
            _numeric(rows, name),
        )
        for name in rows[0]
    ]


def _grouped(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else _cell(value)


def _plain_table(rows: Sequence[Row], total: Row | None, title: str) -> str:
    names = list(rows[0])
    lines = [names, *([_cell(row.get(name, "")) for name in names] for row in rows)]
    if total:
        lines.append([_cell(_total_of(total, rows[0], name)) for name in names])
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    right = [_numeric(rows, name) for name in names]
    text = ["  ".join(map(_aligned, line, widths, right)).rstrip() for line in lines]
    return "\n".join([title, *text] if title else text)


def _total_of(total: Row, first: Row, name: str) -> object:
    """The total's cell; its first column says what it is."""
    return total.get(name, "total" if name == next(iter(first)) else "")


def _aligned(text: str, width: int, right: bool) -> str:  # noqa: FBT001 - mapped over columns
    space = " " * (width - cell_len(text))  # Chinese characters take two columns
    return space + text if right else text + space


def _numeric(rows: Sequence[Row], name: str) -> bool:
    values = [row.get(name) for row in rows]
    return all(value in (None, "") or _is_number(value) for value in values) and any(map(_is_number, values))


def _is_number(value: object) -> bool:
    if isinstance(value, str):
        return value.removeprefix("-").replace(".", "", 1).isdecimal()
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _cell(value: object) -> str:
    """Text without control characters: names come from clients, and a terminal obeys what it prints."""
    if value is None:
        return ""
    text = f"{value:f}" if isinstance(value, Decimal) else str(value)
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)


def _csv_cell(value: object) -> str:
    """Text that a spreadsheet does not take for a formula."""
    text = _cell(value)
    return f"'{text}" if text.startswith(_FORMULA_STARTS) and not _is_number(text) else text
