"""The file of an exported bill as records under headings: bytes in, cells out.

CSV with commas, tabs or semicolons; UTF-8, UTF-16 or GBK; with whatever stands before the headings.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from penstock.config.bill_cells import cell_text
from penstock.config.bill_layouts import LAYOUTS, OTHER, Layout
from penstock.errors import ConfigError

_PREAMBLE: Final = 30
"""Lines that may stand before the headings."""
_SHOWN: Final = 40
"""Headings that are named in a mistake."""
_NOT_TEXT: Final = {
    b"PK\x03\x04": "a ZIP file or a spreadsheet",
    b"\xd0\xcf\x11\xe0": "a spreadsheet",
    b"%PDF": "a PDF",
}
_UNIT: Final = re.compile(r"\(.*?\)")


@dataclass(frozen=True, slots=True)
class Sheet:
    """The headings and where each role stands; the records below them with the numbers of their lines."""

    layout: Layout
    places: Mapping[str, int]
    headings: Sequence[str]
    records: Sequence[tuple[int, Sequence[str]]]

    def is_headed(self, role: str, names: Sequence[str]) -> bool:
        """Whether the role's column has one of these headings."""
        return role in self.places and normal(self.headings[self.places[role]]) in map(normal, names)


def read_sheet(file: str, data: bytes, columns: Mapping[str, str]) -> Sheet:
    """The first line that has the headings of a bill, and what is below it. ``columns``: role -> heading.

    Raises ConfigError.
    """
    text = _decoded(file, data)
    widest: Sequence[str] = ()
    for delimiter in ",\t;":
        records = list(_records(file, text, delimiter))
        for place, (_, cells) in enumerate(records[:_PREAMBLE]):
            found = _fitting(cells, columns)
            if found is not None:
                return Sheet(*found, cells, records[place + 1 :])
            widest = max(widest, cells, key=len)
    raise ConfigError([f"{file}: {_unknown(widest, columns)}"])


def normal(heading: str) -> str:
    """Headings are compared without case, spaces and a unit in parentheses."""
    return "".join(_UNIT.sub("", cell_text(heading)).casefold().split())


def _decoded(file: str, data: bytes) -> str:
    for mark, what in _NOT_TEXT.items():
        if data.startswith(mark):
            raise ConfigError([f"{file}: is {what}; give the CSV file, unpacked or exported as such"])
    encodings = ("utf-16",) if data.startswith((b"\xff\xfe", b"\xfe\xff")) else ("utf-8-sig", "gb18030")
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise ConfigError([f"{file}: is no text in UTF-8 or GBK; export the bill as CSV"])


def _records(file: str, text: str, delimiter: str) -> Iterator[tuple[int, Sequence[str]]]:
    """The lines that are not empty, with the number of the line each ends on."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        for record in reader:
            cells = [cell_text(cell) for cell in record]
            if any(cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise ConfigError([f"{file}:{reader.line_num}: is no CSV ({error}); export the file again"]) from None


def _fitting(cells: Sequence[str], columns: Mapping[str, str]) -> tuple[Layout, Mapping[str, int]] | None:
    """The layout whose headings these are, and where its roles stand.

    A layout's own headings must all be there, but for the model's where that is given.
    """
    places = {normal(heading): place for place, heading in reversed(list(enumerate(cells)))}
    given = {role: places[normal(heading)] for role, heading in columns.items() if normal(heading) in places}
    if len(given) < len(columns):
        return None
    for layout in LAYOUTS:
        known = {role: found for role, names in layout.columns.items() if (found := _first(names, places)) is not None}
        if known.keys() | (given.keys() & {"model"}) >= set(layout.required):
            return layout, {**known, **given}
    priced = "amount" in given or {"price", "tokens"} <= given.keys()
    return (OTHER, given) if "date" in given and priced else None


def _first(names: Sequence[str], places: Mapping[str, int]) -> int | None:
    return next((places[normal(name)] for name in names if normal(name) in places), None)


def _unknown(headings: Sequence[str], columns: Mapping[str, str]) -> str:
    shown = ", ".join(headings[:_SHOWN]) or "nothing"
    present = {normal(heading) for heading in headings}
    absent = [heading for heading in columns.values() if normal(heading) not in present]
    if absent:
        return f"has no column {', '.join(map(repr, absent))}; it has: {shown}"
    known = ", ".join(layout.name for layout in LAYOUTS)
    return (
        f"has the headings of no bill that is known ({known}); say which column is which: "
        f"--columns date=...,model=...,amount=...; it has: {shown}"
    )
