"""A table that fits its terminal: for any cells and any width nothing numeric is cut, and nothing vanishes unsaid."""

from io import StringIO

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from penstock.cli.fitted import Column, print_fitted

NUMBERS = st.integers(0, 10**14).map(str)
WORDS = st.text("abc模型-", min_size=1, max_size=60)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[Column], list[str]]:
    """Columns of a first name and up to eight others, some of them minor; every number is unlike all others."""
    rows = draw(st.integers(1, 4))
    columns = [Column("name", draw(st.lists(WORDS, min_size=rows, max_size=rows)), "total", numeric=False)]
    for number in range(draw(st.integers(0, 8))):
        numeric = draw(st.booleans())
        cells = draw(st.lists(NUMBERS if numeric else WORDS, min_size=rows, max_size=rows))
        foot = draw(NUMBERS) if numeric and draw(st.booleans()) else ""
        columns.append(Column(f"column_{number}", cells, foot, numeric))
    names = [column.name for column in columns[1:]]
    return columns, draw(st.permutations(names).flatmap(lambda order: st.sampled_from([order[:n] for n in range(9)])))


def words_of(text: str) -> set[str]:
    """What stands between spaces, without commas and full stops."""
    return set(text.replace(",", " ").replace(".", " ").split())


@given(tables(), st.integers(10, 200))
def test_numbers_stand_whole_and_no_column_vanishes_unsaid(table: tuple[list[Column], list[str]], width: int) -> None:
    """Every number that is shown is one word; every column is shown, or named below; a table is within its terminal."""
    columns, minor = table
    console = Console(file=StringIO(), width=width, color_system=None, legacy_windows=False)
    print_fitted(console, columns, "", minor)
    assert isinstance(console.file, StringIO)
    text = console.file.getvalue()
    words, left_out = words_of(text), words_of(text.partition("Not shown")[2])
    assert {column.name for column in columns} <= words
    for column in columns:
        assert not column.numeric or column.name in left_out or {*column.cells} <= words
    is_table = "\u2500" in text
    assert not is_table or max(map(cell_len, text.splitlines())) <= width
