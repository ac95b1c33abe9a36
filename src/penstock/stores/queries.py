"""The SQL files, by name: every statement we send stands in ``sql/*.sql`` under a line ``-- name: ...``."""

from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Final

_MARK: Final = "-- name:"


def load_queries(noun: str) -> Mapping[str, str]:
    """The statements of ``sql/<noun>.sql``: name -> SQL. PostgreSQL's nouns begin with ``postgres/``."""
    text = (resources.files("penstock.stores") / "sql" / f"{noun}.sql").read_text("utf-8")
    blocks = [block.partition("\n") for block in text.split(_MARK)[1:]]
    return {name.strip(): _without_comments(sql) for name, _, sql in blocks}


def load_migrations(place: str = "migrations") -> list[tuple[str, str]]:
    """Every schema change in ``sql/<place>`` as (file name, script), oldest first."""
    folder = resources.files("penstock.stores") / "sql" / place
    files = sorted((file.name, file) for file in folder.iterdir() if file.name.endswith(".sql"))
    return [(name, file.read_text("utf-8")) for name, file in files]


def block_of(insert: str, rows: int) -> str:
    """``insert`` for one row as one statement for ``rows`` rows.

    The driver gives up the interpreter lock once per statement: a block of rows costs one hand-over, not one each.
    """
    head, values, tail = insert.partition("VALUES ")
    row, end, rest = tail.partition(")")
    return f"{head}{values}{', '.join([row + end] * rows)}{rest}"


def _without_comments(sql: str) -> str:
    return "\n".join(_code_lines(sql)).strip()


def _code_lines(sql: str) -> Iterator[str]:
    return (line for line in sql.splitlines() if line and not line.startswith("--"))
