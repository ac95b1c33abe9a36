"""SQL in files: every statement has a name, and a block is the same statement for many rows."""

import re
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


@pytest.mark.parametrize(("noun", "query"), [("ledger", "billed"), ("audit", "charges")])
def test_sums_of_a_span_read_that_span_alone(noun: str, query: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A server asks them again and again, however much its ledger has: the exchanges of a span, and their calls."""
    path = tmp_path_factory.mktemp(query) / "store.db"
    prepare(path)
    sql = load_queries(noun)[query]
    with closing(connect(path)) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {sql}", dict.fromkeys(re.findall(r":(\w+)", sql)))
        steps = [step for *_, step in plan if "TEMP B-TREE" not in step]
    assert steps == [
        "SEARCH e USING PRIMARY KEY (at>? AND at<?)",
        "SEARCH a USING PRIMARY KEY (exchange_id=?)",
    ]
