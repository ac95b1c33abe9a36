"""A table that fits its terminal. Numbers, times and short names are never wrapped or cut.

When it is too wide, columns go: first those that are empty, then those the command calls minor, in its order; a line
below says which. When that is not enough, every row becomes a paragraph of its own.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

WHOLE: Final = 26
"""Text up to this wide, in columns of the terminal, stays on one line: a name, or a time with its zone."""

_FOLDED: Final = 18
"""The narrowest a column of longer text may become."""

GAP: Final = 2
"""Between columns."""


class Column(NamedTuple):
    """One column, top to bottom."""

    name: str
    cells: Sequence[str]
    foot: str
    numeric: bool

    @property
    def widest(self) -> int:
        """Of head, cells and foot."""
        return max(map(cell_len, (self.name, *self.cells, self.foot)))

    @property
    def said(self) -> str:
        """Its name, with its total, or with what stands in every row."""
        value = self.foot if self.numeric else self.cells[0] if len(set(self.cells)) == 1 else ""
        return f"{self.name} {value}" if 0 < cell_len(value) <= WHOLE else self.name

    @property
    def whole(self) -> bool:
        """Whether its cells stay on one line."""
        return self.numeric or self.widest <= WHOLE

    @property
    def narrowest(self) -> int:
        """The columns of the terminal that it needs."""
        return self.widest if self.whole else _FOLDED


def print_fitted(console: Console, columns: Sequence[Column], title: str, minor: Sequence[str]) -> None:
    """Print the first of ever smaller tables that fits ``console``, else paragraphs."""
    shown = [column for number, column in enumerate(columns) if number == 0 or any(column.cells) or column.foot]
    dropped: list[Column] = []
    by_name = {column.name: column for column in shown}
    for column in [None, *(by_name[name] for name in minor if name in by_name)]:
        if column is not None:
            shown.remove(column)
            dropped.append(column)
        if sum(each.narrowest + GAP for each in shown) - GAP <= console.width:
            console.print(_table(shown, title))
            _print_dropped(console, dropped)
            return
    _print_paragraphs(console, columns, title)


def _table(columns: Sequence[Column], title: str) -> Table:
    with_foot = any(column.foot for column in columns)
    table = Table(
        title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False,
        show_edge=False, padding=(0, GAP - 1, 0, 0),
        show_footer=with_foot, footer_style="bold", header_style="bold",
    )  # fmt: skip
    for column in columns:
        table.add_column(
            column.name,
            Text(column.foot),
            justify="right" if column.numeric else "left",
            overflow="fold",
            no_wrap=column.whole,
            min_width=column.narrowest,
        )
    for row in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*map(Text, row))
    return table


def _print_dropped(console: Console, dropped: Sequence[Column]) -> None:
    if dropped:
        names = ", ".join(column.said for column in dropped)
        console.print(Text(f"Not shown, for want of width: {names}. --format csv shows all.", style="dim"))


def _print_paragraphs(console: Console, columns: Sequence[Column], title: str) -> None:
    width = max(cell_len(column.name) for column in columns)
    heads: list[Mapping[str, str]] = [
        {column.name: cell for column, cell in zip(columns, row, strict=True)}
        for row in zip(*(column.cells for column in columns), strict=True)
    ]
    feet = {column.name: column.foot for column in columns}
    paragraphs = [*heads, feet] if any(feet.values()) else heads
    if title:
        console.print(Text(title, style="bold"))
    for paragraph in paragraphs:
        lines = [f"{name:{width}}  {value}" for name, value in paragraph.items() if value]
        console.print(Text("\n".join([*lines, ""])), soft_wrap=True)
