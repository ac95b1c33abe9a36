"""SQL in files: every statement has a name, and a block is the same statement for many rows."""

import sqlite3
from contextlib import closing

import pytest

from penstock.stores.queries import block_of, load_queries
from penstock.stores.sqlite import connect, prepare

NAMED = ("by", "scope", "excluding", "since", "until", "id", "key", "now", "tenant", "name", "at", "apart", "ids")
"""Every parameter that a statement names."""


@pytest.mark.parametrize("noun", ["ledger", "answers", "results", "keys", "budgets"])
def test_every_statement_is_one_the_schema_knows(noun: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Each compiles against the newest schema, and none is empty."""
    path = tmp_path_factory.mktemp(noun) / "store.db"
    prepare(path)
    with closing(connect(path)) as connection:
        for name, sql in load_queries(noun).items():
            assert name.isidentifier()
            parameters = dict.fromkeys(
                (
                    "by",
                    "excluding",
                    "since",
                    "until",
                    "id",
                    "key",
                    "now",
                    "tenant",
                    "name",
                    "at",
                    "asked",
                    "first",
                    "last",
                    "rows",
                    "ids",
                )
            )
            values = [None] * sql.count("?") if "?" in sql else parameters
            connection.execute(f"EXPLAIN {sql}", values)


def test_a_block_writes_what_its_rows_would() -> None:
    """Three rows in one statement are the three rows, and the conflict clause still holds."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE t (a PRIMARY KEY, b)")
        insert = "INSERT INTO t (a, b)\nVALUES (?, ?)\nON CONFLICT (a) DO NOTHING"
        connection.execute(block_of(insert, 3), (1, "x", 2, "y", 1, "z"))
        assert connection.execute("SELECT * FROM t").fetchall() == [(1, "x"), (2, "y")]
